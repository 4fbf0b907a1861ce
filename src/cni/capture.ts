// SPDX-License-Identifier: Apache-2.0

import type { CaptureKind } from '../lib/pod-settings.ts';
import type { PodSettings } from './pod.ts';
import type { MarkSettings } from './pod-routes.ts';

/** What is wanted of a pod's capture; what is not said is left to the node. */
export interface CaptureWants extends PodSettings {
  /** How it had better be captured, if `capture` does not say and the node can do it. */
  readonly preferred?: CaptureKind | undefined;
}

/**
 * Redirects a pod's TCP and DNS to the node proxy, inside the pod's network namespace. All calls are
 * idempotent. Each takes effect whole or not at all for the packet path; a call that throws
 * MeshError leaves the pod as it was or captured by rules without a listener, so it fails closed.
 */
export interface Capture {
  /**
   * Rejects with MeshError `invalid` when `netnsPath` is not one of a network namespace, or is the
   * node's own one.
   */
  check(netnsPath: string): Promise<void>;
  /**
   * Captures the namespace at `netnsPath`, in the way that it wants; what an earlier install did is
   * replaced.
   */
  install(netnsPath: string, wants?: CaptureWants): Promise<void>;
  /** What `install` will change of the namespace's own settings. */
  before(netnsPath: string): Promise<MarkSettings>;
  /**
   * Takes every rule of ours away again, and puts settings back to `former`. Rules of others are
   * never touched.
   */
  remove(netnsPath: string, former?: MarkSettings): Promise<void>;
  /**
   * Ends what stands outside of namespaces for pods that are gone: it stays for those that were
   * installed since the start, and for those at `left`, which are still as an earlier run left them.
   */
  retain(left: readonly string[]): Promise<void>;
  /**
   * Names what installed rules depend on outside the namespace (the proxy's cgroup). Rules that
   * were installed under another epoch must be installed again.
   */
  epoch(): string;
}

/** One way of capture, which another one may take the place of. */
export interface CaptureRow extends Capture {
  /** As `remove`, but for what all ways have in common: the routes of answers. */
  giveWay(netnsPath: string): Promise<void>;
}
