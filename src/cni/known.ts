// SPDX-License-Identifier: Apache-2.0
// What the agent knows of a pod, in this run and for the next. Without I/O.
import type { CaptureKind, MeshConfig } from '../lib/pod-settings.ts';
import type { CaptureWants } from './capture.ts';
import type { ListedPod, PodEnrolment } from './pod.ts';
import type { MarkSettings } from './pod-routes.ts';
import { type NodeSettings, type SettingsReport, settingsOf, wantsOf } from './settings.ts';

/** A pod on the list that this run opened. Its rules may be there in each of these phases. */
export interface Known {
  pod: PodEnrolment;
  readonly fd: number;
  readonly inode: number;
  /** What the mesh wanted when it was enrolled. */
  readonly meshCapture: CaptureKind | undefined;
  /** What its namespace's settings were before; nothing of one that an older agent captured. */
  readonly former: MarkSettings | undefined;
  /** What its capture was last asked for. */
  wants: CaptureWants;
  /** The capture's epoch when its rules were installed. */
  epoch: string;
  phase: 'enrolling' | 'enrolled' | 'releasing';
}

/** A pod of an earlier run, whose rules may be in force and which this run has not dealt with. */
export interface Left {
  readonly pod: PodEnrolment;
  readonly meshCapture: CaptureKind | undefined;
  readonly former: MarkSettings | undefined;
  releasing: boolean;
}

/** What the next run has to know of a pod. */
export function listed({ pod, meshCapture, former, releasing }: Left): ListedPod {
  return {
    ...pod,
    ...(meshCapture === undefined ? {} : { meshCapture }),
    ...(former === undefined ? {} : { former }),
    ...(releasing ? { releasing } : {}),
  };
}

/** Whether a pod that is captured by `known` would be captured as `pod` asks. */
export function sameCapture(
  { pod: before, meshCapture }: Pick<Known, 'pod' | 'meshCapture'>,
  pod: PodEnrolment,
  mesh: MeshConfig,
): boolean {
  const [was, is] = [wantsOf(before, {}, meshCapture), wantsOf(pod, {}, mesh.capture)];
  return was.capture === is.capture && (is.capture !== undefined || was.preferred === is.preferred);
}

/** What counts for these pods on a node that is such. */
export function reportOf(
  known: readonly Pick<Known, 'pod' | 'meshCapture'>[],
  mesh: MeshConfig,
  node: NodeSettings,
): SettingsReport {
  const pods = known.map(({ pod, meshCapture }) => {
    const { uid, namespace, name } = pod;
    return { uid, namespace, name, ...settingsOf(pod, mesh, meshCapture, node) };
  });
  return { mesh, node, pods };
}
