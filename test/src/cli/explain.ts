// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { explainBy, main, parseDestination, textOf } from '../../../src/cli/explain.ts';
import type { EndpointAnswer, ExplainAnswer } from '../../../src/lib/admin-api.ts';
import { serveFakeAdmin } from '../../support/fake-admin.ts';

const endpoint: EndpointAnswer = {
  ...{ path: 'tunnel', why: 'enrolled', target: '10.0.0.2:8080', workload: 'web-1', node: 'b' },
  ...{ tunnel: '10.0.0.2:15008', expectedIdentities: ['spiffe://x/ns/demo/sa/web'] },
  verdict: { allowed: false, policy: 'demo/deny', rule: 1, reason: 'a rule of it matches' },
};

function answerOf(node: string, change: Partial<ExplainAnswer> = {}): ExplainAnswer {
  return {
    ...{ node, source: { workload: 'demo/client', node: 'a' } },
    ...{ destination: { address: '10.96.0.1', port: 80 }, path: 'tunnel', why: 'enrolled' },
    ...{ captured: true, sourceIdentity: 'spiffe://x/ns/demo/sa/client', service: 'demo/web' },
    ...{ endpoints: [endpoint], endpointsTotal: 1, notes: ['UDP is not carried'] },
    ...change,
  };
}

t.test('a destination is a name or an address with a port', (t) => {
  t.same(parseDestination('web.demo:80'), { host: 'web.demo', port: '80' });
  t.same(parseDestination('demo/web:80'), { host: 'demo/web', port: '80' });
  t.same(parseDestination('10.0.0.1:65535'), { host: '10.0.0.1', port: '65535' });
  t.same(parseDestination('[fd00::1]:1'), { host: 'fd00::1', port: '1' });
  for (const text of ['', 'web', 'web:', ':80', 'web:0', 'web:65536', 'fd00::1:80', 'web:8x']) {
    t.throws(() => parseDestination(text), { code: 'invalid' }, text);
  }
  t.end();
});

t.test("the source's proxy decides and the destination's is heard", async (t) => {
  const verdict = { allowed: true, policy: '', rule: -1, reason: 'nothing denies' };
  const other = answerOf('b', { endpoints: [{ ...endpoint, verdict }] });
  const sockets = [
    await serveFakeAdmin(t, { '/explain': other }),
    await serveFakeAdmin(t, { '/explain': answerOf('a') }),
  ];
  const explained = await explainBy(sockets, 'client', 'web', '80');
  t.equal(explained.node, 'a');
  t.same(explained.confirmed, { node: 'b', verdict });
  const text = textOf(explained);
  t.match(text, /^from +demo\/client on a$/m);
  t.match(text, /^to +10\.96\.0\.1:80, the service demo\/web$/m);
  t.match(text, /^path +tunnel: enrolled$/m);
  t.match(text, /^policy +DENIED, by demo\/deny \(rule 2\): a rule of it matches$/m);
  t.match(text, /^there +b: allowed: nothing denies$/m);
  t.match(text, /^note +UDP is not carried$/m);
});

t.test('agreement is said in a word', async (t) => {
  const sockets = [
    await serveFakeAdmin(t, { '/explain': answerOf('a') }),
    await serveFakeAdmin(t, { '/explain': answerOf('b') }),
  ];
  t.match(textOf(await explainBy(sockets, 'client', 'web', '80')), /^there +b says the same$/m);
});

t.test('of each endpoint it is said how it is reached', async (t) => {
  const { tunnel: _, ...rest } = endpoint;
  const near: EndpointAnswer = { ...rest, path: 'direct', target: '10.0.0.3:8080' };
  const both = { endpoints: [near, endpoint], endpointsTotal: 2 };
  const socket = await serveFakeAdmin(t, { '/explain': answerOf('a', both) });
  const text = textOf(await explainBy([socket], 'client', 'web', '80'));
  t.match(text, /^endpoint +10\.0\.0\.3:8080, web-1 on b, past the proxy$/m);
  t.match(text, /^endpoint +10\.0\.0\.2:8080, web-1 on b, through a tunnel to 10\.0\.0\.2:15008$/m);
});

t.test("without the source's proxy it is said whose word it is", async (t) => {
  const sockets = [
    await serveFakeAdmin(t, { '/explain': answerOf('b') }),
    await serveFakeAdmin(t, { '/explain': 'not known here' }),
  ];
  const { notes, confirmed } = await explainBy(sockets, 'client', 'web', '80');
  t.match(notes[0], /by the tables of b: the proxy of a was not asked/);
  t.equal(confirmed, undefined);
});

t.test('what nobody can explain is the asker’s mistake', async (t) => {
  const socket = await serveFakeAdmin(t, { '/explain': 'no workload x' });
  await t.rejects(explainBy([socket], 'x', 'web', '80'), { code: 'invalid', message: /no work/ });
});

t.test('plaintext and refusal are said plainly; JSON is the whole', async (t) => {
  const refused = { path: 'refused' as const, why: 'no endpoint is healthy' };
  const plain = { sourceIdentity: '', service: '', endpoints: [], endpointsTotal: 0 };
  const socket = await serveFakeAdmin(t, { '/explain': answerOf('a', { ...refused, ...plain }) });
  let text = '';
  const print = (more: string): void => {
    text += more;
  };
  t.equal(await main(['client', 'web:80', '--socket', socket], print), 0);
  t.match(text, /^path +refused: no endpoint is healthy$/m);
  t.match(text, /^identity +none: plaintext proves nothing$/m);
  text = '';
  t.equal(await main(['client', 'web:80', '--socket', socket, '-o', 'json'], print), 0);
  t.match(JSON.parse(text), { node: 'a', ...refused });
  await t.rejects(main(['client', 'web', '--socket', socket], print), { code: 'invalid' });
});
