// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { captureMetrics } from '../../../src/cni/capture-metrics.ts';

t.test('the tier is one series, and each feature is one', async (t) => {
  const text = captureMetrics({
    tier: 'kernel',
    reasons: ['guard: no'],
    features: [
      { name: 'connect4', result: 'yes', seen: 'works' },
      { name: 'guard', result: 'no', seen: 'says "no"' },
    ],
  });
  t.match(text, /^# TYPE weft_capture_tier gauge\nweft_capture_tier\{tier="kernel"\} 1$/m);
  t.match(text, /^weft_capture_feature\{feature="connect4",result="yes"\} 1$/m);
  t.match(text, /^weft_capture_feature\{feature="guard",result="no"\} 1\n$/m);
});

t.test('where nothing was tried there is the tier alone', async (t) => {
  t.notMatch(captureMetrics({ tier: 'nftables', reasons: [], features: [] }), /feature/);
});
