// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  nameserversMax,
  parseResolvConf,
  resolvConfCharactersMax,
  usableNameservers,
} from '../../../ztunnel/dns/resolv-conf.ts';

t.test('nameservers are read in order, at most as many as the C library asks', (t) => {
  const text = `# a comment
search example.com
nameserver 10.0.0.53
nameserver\tfd00::53   # more
options ndots:5
nameserver 10.0.0.54
nameserver 10.0.0.55
`;
  t.same(parseResolvConf(text), ['10.0.0.53', 'fd00::53', '10.0.0.54']);
  t.equal(parseResolvConf(text).length, nameserversMax);
  t.end();
});

t.test('what cannot be asked from a pod is left out', (t) => {
  const unusable = ['127.0.0.53', '127.0.0.1', '::1', '0:0:0:0:0:0:0:1', 'fe80::1%eth0', 'ns.x'];
  t.same(usableNameservers([...unusable, '10.0.0.53']), ['10.0.0.53']);
  t.end();
});

t.test('text that is no resolver configuration names nothing', (t) => {
  for (const text of [
    '',
    'nameserver',
    'nameserver \n',
    ' nameserver 10.0.0.1',
    '\0\xff',
    'x 10.0.0.1',
  ]) {
    t.same(parseResolvConf(text), [], JSON.stringify(text));
  }
  const far = `${'#'.repeat(resolvConfCharactersMax)}\nnameserver 10.0.0.53`;
  t.same(parseResolvConf(far), [], 'past the limit nothing is read');
  t.end();
});
