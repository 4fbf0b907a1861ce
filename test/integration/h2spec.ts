// SPDX-License-Identifier: Apache-2.0
// Our own HTTP/2 framing before the conformance tool h2spec (github.com/summerwind/h2spec), where
// that is on PATH.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { buildLane } from '../../scripts/build.ts';
import { dependencyPrefix } from '../../scripts/deps.ts';

const runTimeoutMs = 120_000;

/** What fails on purpose: h2spec asks for RFC 7540, and for a server that serves content. */
const exceptions: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'RFC 9113 5.3.2: priorities are not looked at': [
      'Sends HEADERS frame that depend on itself',
      'Sends PRIORITY frame that depend on itself',
    ],
    'CONNECT has no content, and what is not CONNECT is refused': [
      'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length',
      'Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length',
    ],
    'the tool uses a dynamic table, which our SETTINGS forbid (RFC 7541 4.2)': [
      'Sends a dynamic table size update',
      'Sends multiple dynamic table size update',
      'Sends multiple CONTINUATION frames preceded by a HEADERS frame',
    ],
  }).flatMap(([reason, titles]) => titles.map((title): [string, string] => [title, reason])),
);

function toolIsThere(): boolean {
  try {
    execFileSync('h2spec', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const skip = toolIsThere() ? false : 'h2spec is not on PATH';

t.test('own framing keeps to RFC 9113 by the book of h2spec', { skip }, async (t) => {
  const folder = await buildLane(
    { name: 'asan', sanitize: 'address,undefined' },
    await dependencyPrefix(),
    ['h2_server'],
  );
  const server = spawn(join(folder, 'h2_server'), ['own'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  const [line] = await once(server.stdout, 'data');
  const port = String(line).trim();
  const outcome = await promisify(execFile)('h2spec', ['-h', '127.0.0.1', '-p', port, '-o', '2'], {
    timeout: runTimeoutMs,
    maxBuffer: 16 << 20,
  }).catch((failure) => failure);
  const report = String(outcome.stdout);
  server.stdin.end();
  const [code] = await ended;
  t.equal(code, 0, 'the server is still there, and ends well');

  const [, run] = /(\d+) tests, \d+ passed/.exec(report) ?? [];
  t.ok(Number(run) >= 140, `${run} cases were run`);
  const failed = new Set([...report.matchAll(/× \d+: (.*)/g)].map((match) => match[1] ?? ''));
  t.strictSame(
    [...failed].filter((title) => !exceptions.has(title)),
    [],
    'none fails by mistake',
  );
  for (const [title, reason] of exceptions) {
    t.ok(failed.has(title), `${title}: ${reason}`);
  }
});
