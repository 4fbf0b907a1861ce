// SPDX-License-Identifier: Apache-2.0
// The guard of addresses, tried on nodes where it holds and on such where it does not. Runs itself in
// a namespace that is the node. Needs root.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import t, { type Test } from 'tap';
import { Guard, type GuardFamily, guardTable } from '../../../src/cni/guard.ts';
import {
  bridgedVerdictOf,
  checkGuard,
  guardFeature,
  openTriedGuard,
  turnFile,
  verdictOf,
} from '../../../src/cni/guard-probe.ts';
import { mustRun, runProgram } from '../../../src/lib/program.ts';

const isNode = process.env['WEFT_TEST_NODE'] === 'yes';
const module = new URL('../../../src/cni/guard-probe.ts', import.meta.url).pathname;

/** A guard that somebody else made, with these rules in its chain. */
async function layGuard(t: Test, family: GuardFamily, rules: readonly string[]): Promise<void> {
  const sets = [4, 6].map((kind) => {
    return `set own${kind} { type ipv${kind}_addr; }
    set cables${kind} { type iface_index . ipv${kind}_addr; }`;
  });
  const ofBridge = `set targets { typeof @th,64,128; }
    set targetcables { typeof iif . @th,64,128; }
    set macs { type ether_addr; }
    set maccables { type iface_index . ether_addr; }`;
  const input = `table ${family} ${guardTable} {
    ${[...sets, family === 'bridge' ? ofBridge : ''].join('\n')}
    chain foreign { type filter hook prerouting priority -300; ${rules.join('; ')}; }
  }`;
  await mustRun('nft', ['-f', '-'], { input });
  t.teardown(() => mustRun('nft', ['delete', 'table', family, guardTable]));
}

const noCable = 'the node has no end of a cable of it';
const keep4 = 'ip saddr @own4 iif . ip saddr != @cables4 drop';
const keep6 = 'ip6 saddr @own6 iif . ip6 saddr != @cables6 drop';

const keepArp = 'arp saddr ip @own4 iif . arp saddr ip != @cables4 drop';
const advert = 'icmpv6 type nd-neighbor-advert @th,64,128';
const keepNd = `${advert} @targets iif . @th,64,128 != @targetcables drop`;
const keepMac = 'ether saddr @macs iif . ether saddr != @maccables drop';
const bridgeRules = [keep4, keep6, keepArp, keepNd, keepMac];

async function nothingIsLeft(t: Test): Promise<void> {
  const rules = await mustRun('nft', ['list', 'ruleset']);
  t.notMatch(rules, /weft_guard_probe/);
  t.notMatch(rules, /192\.0\.2\.254|2001:db8:ffff::254/);
  t.notMatch(await mustRun('ip', ['link']), /weftgbr/);
}

/** A folder with an `nft` that kills who runs it when it is to read the counters. */
function deadlyFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-nft-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = process.env['PATH'] ?? '';
  const script = `#!/bin/sh
case "$*" in *counters*) kill -9 $PPID; exit 1 ;; esac
PATH=${path} exec nft "$@"
`;
  writeFileSync(join(folder, 'nft'), script);
  chmodSync(join(folder, 'nft'), 0o755);
  return folder;
}

if (!isNode) {
  t.test('what was counted is a verdict, and the first fault is told', async (t) => {
    const good = Object.fromEntries(
      ['v4', 'v6'].flatMap((kind) => [
        [`owner_${kind}_before`, 1],
        [`owner_${kind}_behind`, 1],
        [`stranger_${kind}_before`, 1],
        [`stranger_${kind}_behind`, 0],
      ]),
    );
    const verdict = (change: Record<string, number> = {}): string =>
      verdictOf('inet', new Map(Object.entries({ ...good, ...change })));
    t.equal(verdict(), '');
    t.match(verdict({ stranger_v6_behind: 1 }), /^IPv6 from a pod's address passes/);
    t.match(verdict({ owner_v4_behind: 0 }), /^IPv4 from a pod's own address does not pass/);
    t.match(verdict({ owner_v4_before: 0 }), /^IPv4 does not come/);
    t.match(verdict({ stranger_v4_before: 0 }), /^IPv4 does not come/);
    t.match(verdictOf('bridge', new Map(Object.entries(good))), /^ARP does not come/);
    const bridged = { bridged_v4_before: 1, bridged_v4_behind: 1, bridged_v6_before: 1 };
    const above = bridgedVerdictOf(new Map(Object.entries(bridged)));
    t.match(above, /^IPv6 from a pod's own address on a bridge does not reach the node/);
    t.match(bridgedVerdictOf(new Map()), /^IPv4 does not come over a bridge/);
  });
  const env = { ...process.env, WEFT_TEST_NODE: 'yes' };
  t.spawn('unshare', ['--net', process.execPath, import.meta.filename], { env }, 'on a node');
} else {
  await t.test('a guard of ours holds, and nothing is left of the try', async (t) => {
    const tried = await openTriedGuard();
    t.strictSame(tried.guard.families, ['inet', 'bridge']);
    t.equal(tried.bridge, '');
    await nothingIsLeft(t);
  });

  await t.test('two agents try one after the other', async (t) => {
    const both = await Promise.all([openTriedGuard(), openTriedGuard()]);
    t.strictSame(
      both.map(({ bridge }) => bridge),
      ['', ''],
    );
    await nothingIsLeft(t);
  });

  await t.test('nobody without root takes the turn away', async (t) => {
    const server = createServer().listen({ path: '\0weft-guard-probe' });
    await once(server, 'listening');
    t.teardown(() => server.close());
    const nobody = { uid: 65_534, gid: 65_534, stdio: 'ignore' } as const;
    const [code] = await once(spawn('flock', ['-n', turnFile, 'true'], nobody), 'exit');
    t.not(code, 0);
    t.equal((await openTriedGuard()).bridge, '');
  });

  await t.test('what one that was killed has left goes with the next', async (t) => {
    const text = `const { openTriedGuard } = await import(${JSON.stringify(module)});
      await openTriedGuard();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
      env: { ...process.env, PATH: `${deadlyFolder(t)}${delimiter}${process.env['PATH']}` },
      stdio: 'ignore',
    });
    const [, signal] = await once(child, 'exit');
    t.equal(signal, 'SIGKILL');
    const rules = await mustRun('nft', ['list', 'ruleset']);
    t.match(rules, /weft_guard_probe/, 'it was in the middle of it');
    t.match(rules, /192\.0\.2\.254/);
    t.equal((await openTriedGuard()).bridge, '');
    await nothingIsLeft(t);
  });
  await mustRun('nft', ['flush', 'ruleset']);

  const ruleset = (): Promise<string> => mustRun('nft', ['-s', 'list', 'ruleset']);
  await t.test('a check leaves a node as it was', async (t) => {
    t.equal((await checkGuard()).bridge, '');
    t.equal(await ruleset(), '', 'without a guard');
    await openTriedGuard();
    const pod = 'own4 { 10.9.8.7 }';
    await mustRun('nft', ['add', 'element', 'inet', guardTable, ...pod.split(' ')]);
    const before = await ruleset();
    t.match(before, '10.9.8.7');
    t.equal((await checkGuard()).bridge, '');
    t.equal(await ruleset(), before, 'and with one, which keeps somebody');
    await mustRun('nft', ['flush', 'ruleset']);
  });

  await t.test('an agent that starts beside checks has its guard', async (t) => {
    const all = await Promise.all([checkGuard(), openTriedGuard(), checkGuard()]);
    t.ok(all.every(({ bridge }) => bridge === ''));
    t.strictSame(await Guard.inForce(), ['inet', 'bridge']);
    t.equal(await all[1].guard.add(`/proc/${process.pid}/ns/net`, []), noCable);
    await mustRun('nft', ['flush', 'ruleset']);
  });

  for (const [title, rules, reason] of [
    ['lets IPv4 of others pass', [keep6], /^IPv4 from a pod's address passes by another/],
    ['lets IPv6 of others pass', [keep4], /^IPv6 from a pod's address passes by another/],
    ['drops what a pod sends', ['ip saddr @own4 drop', keep6], /^IPv4 from a pod's own address/],
  ] as const) {
    await t.test(`one that ${title} is none`, async (t) => {
      await layGuard(t, 'inet', rules);
      const tried = openTriedGuard();
      await t.rejects(tried, { code: 'unsupported', message: reason });
      t.match(await guardFeature(tried), { result: 'no', seen: reason });
      await nothingIsLeft(t);
    });
  }

  for (const [what, left, reason] of [
    ['ARP', keepArp, "ARP from a pod's address"],
    ['advertisements', keepNd, "neighbour discovery from a pod's address"],
    ['frames with the MAC', keepMac, "a frame from a pod's address"],
  ] as const) {
    await t.test(`one that lets ${what} of others pass a bridge is for routed pods`, async (t) => {
      await mustRun('nft', ['flush', 'ruleset']);
      await layGuard(
        t,
        'bridge',
        bridgeRules.filter((rule) => rule !== left),
      );
      const tried = openTriedGuard();
      const { guard, bridge } = await tried;
      t.strictSame(guard.families, ['inet']);
      t.equal(bridge, `${reason} passes by another pod's cable`);
      t.match(await guardFeature(tried), { result: 'warn', seen: `not on a bridge: ${reason}` });
      await nothingIsLeft(t);
    });
  }

  await t.test('one that cuts pods on a bridge off is one for routed pods', async (t) => {
    await mustRun('nft', ['flush', 'ruleset']);
    const cut = 'iifname "weftgbr" ip saddr @own4 drop';
    await layGuard(t, 'inet', [keep4, keep6, cut]);
    const { guard, bridge } = await openTriedGuard();
    t.strictSame(guard.families, ['inet']);
    t.match(bridge, /^IPv4 from a pod's own address on a bridge does not reach the node/);
    await nothingIsLeft(t);
  });

  await t.test('a node that drops everything before it is told from one that guards', async (t) => {
    const input = `table inet wall {
      chain everything {
        type filter hook prerouting priority -400
        drop
      }
    }`;
    await mustRun('nft', ['-f', '-'], { input });
    t.teardown(() => runProgram('nft', ['delete', 'table', 'inet', 'wall']));
    await t.rejects(openTriedGuard(), { message: /^IPv4 does not come over a cable/ });
    await Guard.uninstall();
    await t.rejects(checkGuard(), { message: /^IPv4 does not come over a cable/ });
    t.strictSame(await Guard.inForce(), [], 'a check that fails takes its own away');
    await nothingIsLeft(t);
  });
}
