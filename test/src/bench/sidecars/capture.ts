// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { captureRules } from '../../../../src/bench/sidecars/capture.ts';

t.test('both directions are captured, and the sidecar itself is not', async (t) => {
  const rules = captureRules('mark');
  t.match(rules, /hook output[\s\S]+meta mark 1337 accept[\s\S]+redirect to :15001/);
  t.match(rules, /hook prerouting[\s\S]+redirect to :15006/);
  t.match(captureRules({ user: 'haproxy' }), 'meta skuid haproxy accept');
});

t.test('the rules may be loaded again', async (t) => {
  t.match(captureRules('mark'), /^table inet sidecar\ndelete table inet sidecar\n/);
});
