// SPDX-License-Identifier: Apache-2.0
// Our own HTTP/2 framing before the conformance tool h2spec (github.com/summerwind/h2spec), where
// that is on PATH, or Go is, which then builds it.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { addressLane, buildLane } from '../../scripts/build.ts';
import { dependencyPrefix } from '../../scripts/deps.ts';
import { root } from '../../scripts/steps.ts';

const runTimeoutMs = 120_000;
/** The first build fetches ten modules and compiles for half a minute. */
const buildTimeoutMs = 180_000;

t.setTimeout(buildTimeoutMs + 2 * runTimeoutMs);

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

const module: string = join(import.meta.dirname, '../peers/h2spec');
const built: string = join(root, 'build/h2spec/h2spec');

/** What one program says, or why it did not end well. */
async function said(file: string, args: readonly string[], cwd: string = root): Promise<string> {
  // A Go that is too old is no reason to fetch another.
  const env = { ...process.env, GOTOOLCHAIN: 'local' };
  const running = promisify(execFile)(file, [...args], { cwd, env, timeout: buildTimeoutMs });
  return await running.then(
    ({ stdout }) => stdout,
    (error: Error) => error.message,
  );
}

/** Where the tool is: on PATH, or built from its module at the versions of go.sum. Else, why not. */
async function findTool(): Promise<{ readonly path: string } | { readonly skip: string }> {
  if (/^Version/.test(await said('h2spec', ['--version']))) {
    return { path: 'h2spec' };
  }
  if (!/^go version/.test(await said('go', ['version']))) {
    return { skip: 'neither h2spec nor go, which could build it, is on PATH' };
  }
  const package_ = 'github.com/summerwind/h2spec/cmd/h2spec';
  const why = await said('go', ['build', '-mod=readonly', '-o', built, package_], module);
  return why === '' ? { path: built } : { skip: `h2spec cannot be built: ${why}` };
}

const tool = await findTool();
const [h2spec, skip] = 'path' in tool ? [tool.path, false as const] : ['', tool.skip];

t.test('own framing keeps to RFC 9113 by the book of h2spec', { skip }, async (t) => {
  const folder = await buildLane(addressLane, await dependencyPrefix(), ['h2_server']);
  const server = spawn(join(folder, 'h2_server'), ['own'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  const [line] = await once(server.stdout, 'data');
  const port = String(line).trim();
  const outcome = await promisify(execFile)(h2spec, ['-h', '127.0.0.1', '-p', port, '-o', '2'], {
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
