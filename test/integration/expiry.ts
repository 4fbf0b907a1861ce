// SPDX-License-Identifier: Apache-2.0
// A tunnel ends when a certificate that it was opened with does. Needs root.
import t from 'tap';
import { Kind, Reason } from '../../native/index.ts';
import { MeshPair, materialOf, spiffeId } from '../support/mesh-pair.ts';

t.setTimeout(30_000);

for (const owner of ['client', 'server'] as const) {
  t.test(`an open connection is cut when the ${owner}'s certificate ends`, async (t) => {
    const pair = await MeshPair.start(t, { identities: false });
    await pair.server.app.listen(8080);
    const id = spiffeId(owner);
    const brief = await pair.ca.issue(id, { validForMs: 3_000 });
    pair[owner].engine.setIdentity(materialOf(id, brief, pair.ca.rootFile));
    const other = owner === 'client' ? 'server' : 'client';
    pair[other].engine.setIdentity(await pair.material(other));
    const [near, far] = await pair.connect(8080);
    await near.write('ping');
    t.equal(await far.read(4), 'ping');
    t.strictSame(await Promise.all([near.failure(), far.failure()]), ['ECONNRESET', 'ECONNRESET']);
    const event = await pair[other].events.take((each) => each.kind === Kind.CLOSED);
    t.ok(event.reason === Reason.IDENTITY || event.reason === Reason.RESET, event.detail);
    pair[owner].engine.setIdentity(await pair.material(owner));
    const [next, answering] = await pair.connect(8080);
    await next.write('renewed');
    t.equal(await answering.read(7), 'renewed');
  });
}
