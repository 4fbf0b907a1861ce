// SPDX-License-Identifier: Apache-2.0
// Capture in the kernel for tests whose proxies run in the test's own process: that moves to a cgroup
// of its own, and applications start in another. Nothing outlives the process.
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeCapture, type NodeCaptureOptions } from '../../native/capture.ts';
import { EbpfCapture } from '../../src/cni/capture-ebpf.ts';
import type { Guard } from '../../src/cni/guard.ts';
import { cgroup2RootOf } from '../../src/lib/machine.ts';

/** Where the root of cgroup v2 is. */
export function cgroupRoot(): string {
  return cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '';
}

/** Moves this process. */
export function enterCgroup(folder: string): void {
  writeFileSync(join(folder, 'cgroup.procs'), String(process.pid));
}

/**
 * A stand-in for the guard of addresses: pods of these tests have a cable between them and no node,
 * whose namespace the real one would stand in.
 */
const noGuard = {
  add: async () => undefined,
  remove: async () => undefined,
} as unknown as Guard;

/** Capture of all the pods of one process. */
export class KernelCapture {
  readonly capture: EbpfCapture;
  readonly node: NodeCapture;
  readonly pins: string;
  /** What `node` was made with. */
  readonly options: NodeCaptureOptions;
  /** The cgroup of applications, and that of the kubelet. */
  readonly apps: string;
  readonly kubelet: string;
  readonly #top: string;
  readonly #proxy: string;

  private constructor() {
    this.#top = join(cgroupRoot(), `weft-test-${process.pid}`);
    this.#proxy = join(this.#top, 'proxy');
    this.apps = join(this.#top, 'apps');
    this.kubelet = join(this.#top, 'kubelet');
    for (const folder of [this.#top, this.#proxy, this.apps, this.kubelet]) {
      mkdirSync(folder);
    }
    this.pins = mkdtempSync(join(tmpdir(), 'weft-pins-'));
    enterCgroup(this.#proxy);
    this.options = {
      pins: this.pins,
      cgroup: this.#top,
      proxyCgroup: this.#proxy,
      probeCgroup: this.kubelet,
    };
    this.node = new NodeCapture(this.options);
    this.capture = new EbpfCapture(this.node, this.options, noGuard);
    process.once('exit', () => this.#remove());
  }

  static #one: KernelCapture | undefined;

  /** That of this process, set up when it is first asked for. Needs root. */
  static get one(): KernelCapture {
    KernelCapture.#one ??= new KernelCapture();
    return KernelCapture.#one;
  }

  #remove(): void {
    NodeCapture.uninstall(this.pins);
    enterCgroup(cgroupRoot());
    for (const folder of [this.#proxy, this.apps, this.kubelet, this.#top]) {
      try {
        rmdirSync(folder);
      } catch {
        // A process of a test that failed is still on its way out.
      }
    }
  }
}

/** Whether the tests of this run have their pods captured in the kernel. */
export const isKernelRun: boolean = process.env['WEFT_TEST_CAPTURE'] === 'ebpf';
