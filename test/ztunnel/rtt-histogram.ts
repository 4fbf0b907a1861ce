// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { familyText } from '../../ztunnel/metrics.ts';
import { RttHistogram, rttBounds } from '../../ztunnel/rtt-histogram.ts';

t.test('counts of one label set are added up, and shown as cumulative buckets', (t) => {
  const histogram = new RttHistogram();
  const labels = { a: 'x' };
  histogram.add(labels, [1, 2], 0.5);
  histogram.add({ a: 'x' }, [0, 1], 0.25);
  histogram.add({ a: 'y' }, [0, 0, 7], 1);
  const text = familyText(histogram.family());
  t.match(text, 'weft_tcp_rtt_seconds_bucket{a="x",le="0.000025"} 1\n');
  t.match(text, 'weft_tcp_rtt_seconds_bucket{a="x",le="0.00005"} 4\n');
  t.match(text, 'weft_tcp_rtt_seconds_bucket{a="x",le="+Inf"} 4\n');
  t.match(text, 'weft_tcp_rtt_seconds_sum{a="x"} 0.75\n');
  t.match(text, 'weft_tcp_rtt_seconds_count{a="x"} 4\n');
  t.match(text, 'weft_tcp_rtt_seconds_count{a="y"} 7\n');
  t.equal(text.match(/a="x",le=/g)?.length, rttBounds.length + 1);
  histogram.remove(labels);
  t.notMatch(familyText(histogram.family()), /a="x"/);
  t.match(familyText(histogram.family()), /a="y"/);
  t.end();
});

t.test('without connections there is nothing', (t) => {
  t.equal(familyText(new RttHistogram().family()), '');
  t.end();
});
