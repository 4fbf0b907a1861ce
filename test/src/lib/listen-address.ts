// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { listenAddressOf, listenAddressPattern } from '../../../src/lib/listen-address.ts';

t.test('an address and a port, IPv6 in brackets', async (t) => {
  t.strictSame(listenAddressOf('127.0.0.1:80'), { host: '127.0.0.1', port: 80 });
  t.strictSame(listenAddressOf('[::1]:0'), { host: '::1', port: 0 });
  for (const text of ['127.0.0.1', '::1:80', '[::1]', ':80', 'host:port']) {
    t.notMatch(text, listenAddressPattern, text);
  }
});
