// SPDX-License-Identifier: Apache-2.0
// How this node captures, as metrics of the agent. Labels are names of ours: nothing in them needs to
// be escaped.
import type { CaptureProbe } from './capture-probe.ts';

/** The media type of `captureMetrics`. */
export const metricsType = 'text/plain; version=0.0.4; charset=utf-8';

/** Tier and features in the Prometheus text format. */
export function captureMetrics({ tier, features }: CaptureProbe): string {
  const lines = [
    '# HELP weft_capture_tier The way in which pods of this node are captured.',
    '# TYPE weft_capture_tier gauge',
    `weft_capture_tier{tier="${tier}"} 1`,
  ];
  if (features.length > 0) {
    lines.push(
      '# HELP weft_capture_feature What capture in the kernel builds on, by what became of it.',
      '# TYPE weft_capture_feature gauge',
      ...features.map(({ name, result }) => {
        return `weft_capture_feature{feature="${name}",result="${result}"} 1`;
      }),
    );
  }
  return `${lines.join('\n')}\n`;
}
