// SPDX-License-Identifier: Apache-2.0
// When a node proxy takes the place of another: that one is a stand-in, at a real socket.
import { readdirSync } from 'node:fs';
import t, { type Test } from 'tap';
import * as native from '../../../native/index.ts';
import { createLog } from '../../../src/lib/log.ts';
import { typeOrder } from '../../../src/xds/wire.ts';
import { Predecessor } from '../../../ztunnel/handover/predecessor.ts';
import { Successors } from '../../../ztunnel/handover/successors.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';
import { client, info, type OneProxyOptions, oneProxy } from '../../support/one-proxy.ts';

/** Nothing happens because time has passed. */
const waits = { controlMs: 600_000, wholeMs: 600_000 };
const log = createLog('test', 'silent', { write: () => undefined });

/** The proxy before, which has no sockets. */
class Before {
  readonly calls: string[] = [];
  readonly asked: Promise<void>;
  readonly replaced: Promise<void>;
  readonly #asked = Promise.withResolvers<void>();
  readonly #replaced = Promise.withResolvers<void>();
  #server: Successors | undefined;

  constructor() {
    this.asked = this.#asked.promise;
    this.replaced = this.#replaced.promise;
  }

  serve(path: string): Promise<Predecessor | undefined> {
    const { connectPackets: connect, listenPackets: listen, closeFd } = native;
    this.#server = new Successors(path, {
      listen,
      closeFd,
      log,
      sockets: async () => {
        this.#asked.resolve();
        return new Map();
      },
      release: async () => void this.calls.push('release'),
      replaced: () => {
        this.calls.push('replaced');
        this.#replaced.resolve();
      },
      takeBack: () => this.calls.push('take back'),
    });
    return Predecessor.find(path, { connect, closeFd, log });
  }

  end(): void {
    this.#server?.close();
  }
}

/** A successor that has its state and one pod. */
async function start(t: Test, options: OneProxyOptions = {}, uid = 'u1') {
  const before = new Before();
  const predecessor = (path: string): Promise<Predecessor | undefined> => before.serve(path);
  const made = await oneProxy(t, { ...options, predecessor });
  t.teardown(() => before.end());
  const { control, agent, proxy } = made;
  const namespace = await makeNetNamespace();
  t.teardown(() => namespace.close());
  await proxy.start(new AbortController().signal);
  const greeting = agent.greeting();
  await control.delta.serve([client], [], typeOrder.length);
  await greeting;
  const fd = native.openPath(namespace.path);
  t.teardown(() => native.closeFd(fd));
  const add = (account = info.serviceAccount) => {
    const workloadInfo = { ...info, serviceAccount: account };
    return agent.ask({ case: 'add', value: { uid, workloadInfo } }, fd);
  };
  const listed = () => agent.ask({ case: 'snapshotSent', value: {} });
  return { ...made, before, add, listed };
}

t.test('it takes over when the last certificate comes', async (t) => {
  const gate = Promise.withResolvers<void>();
  const { before, add, listed, logged, lines } = await start(t, {
    waits,
    issuing: () => gate.promise,
  });
  t.equal(await add(), '');
  t.equal(await listed(), '');
  t.same(before.calls, [], 'the one before it can carry them meanwhile');
  gate.resolve();
  await logged('took over');
  await before.replaced;
  t.same(before.calls, ['release', 'replaced']);
  await logged('ready');
  t.equal(lines.filter(({ msg }) => msg === 'took over').length, 1);
});

t.test('for a pod that it cannot carry it does not wait for ever', async (t) => {
  const { before, add, listed, logged, proxy } = await start(t, { waits: { wholeMs: 300 } });
  t.match(await add('admin'), /is placed on this node/);
  t.equal(await listed(), '');
  t.match(await logged('took over'), { pending: ['pods'] });
  await before.replaced;
  t.same(before.calls, ['release', 'replaced']);
  t.same(proxy.pending(), ['pods'], 'and is not ready');
});

t.test('nor for a certificate that it does not get', async (t) => {
  const issuing = (): Promise<void> => Promise.reject(new Error('no'));
  const { before, add, listed, logged } = await start(t, { waits: { wholeMs: 300 }, issuing });
  t.equal(await add(), '');
  t.equal(await listed(), '');
  await logged('took over');
  await before.replaced;
  t.same(before.calls, ['release', 'replaced']);
});

t.test('when the one before it is gone it takes over at once, as it is', async (t) => {
  const issuing = (): Promise<void> => new Promise(() => undefined);
  const { before, add, logged, proxy } = await start(t, { issuing });
  t.equal(await add(), '');
  await before.asked;
  t.match(proxy.pending(), ['pods', 'the node, which another proxy carries']);
  before.end();
  await logged('took over');
  t.same(before.calls, []);
  t.same(proxy.pending(), ['pods'], 'the list of the agent is not over');
});

t.test('it wipes no key while the node is another’s', async (t) => {
  const { before, add, listed, logged, agent, config } = await start(t, { waits });
  t.equal(await add(), '');
  await logged('certificate issued');
  const kept = readdirSync(config.keysDir);
  t.equal(kept.length, 1);
  t.equal(await agent.ask({ case: 'del', value: { uid: 'u1' } }), '');
  t.same(readdirSync(config.keysDir), kept, 'the one before it may have the pod');
  t.equal(await listed(), '');
  await logged('ready');
  await before.replaced;
  t.same(before.calls, ['release', 'replaced']);
  t.same(readdirSync(config.keysDir), []);
});
