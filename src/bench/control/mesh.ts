// SPDX-License-Identifier: Apache-2.0
// The manifests of a mesh of any size, for measurements of the control plane.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How large the mesh is. */
export interface MeshSize {
  readonly workloads: number;
  readonly services: number;
  readonly nodes: number;
}

const podsOfFile = 100;

function joined(documents: readonly string[]): string {
  return documents.join('---\n');
}

function addressOf(index: number): string {
  return `10.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

function podText(index: number, { services, nodes }: MeshSize, address: string): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: pod-${index}
  namespace: bench
  labels: {app: app-${index % services}, version: v1}
spec:
  nodeName: node-${index % nodes}
  containers: [{name: app, ports: [{name: http, containerPort: 8080}]}]
status:
  phase: Running
  podIP: ${address}
  conditions: [{type: Ready, status: "True"}]
`;
}

function serviceText(index: number): string {
  return `apiVersion: v1
kind: Service
metadata: {name: app-${index}, namespace: bench}
spec:
  clusterIP: 10.32.${index >> 8}.${index & 255}
  ports: [{name: http, port: 80, targetPort: http}]
  selector: {app: app-${index}}
`;
}

/** A folder of manifests, with one pod in a file of its own that can be changed. */
export class MeshFolder {
  readonly path: string;
  readonly #size: MeshSize;
  #changes = 0;

  /** Writes the manifests into a folder that is there and empty. */
  constructor(path: string, size: MeshSize) {
    this.path = path;
    this.#size = size;
    mkdirSync(path, { recursive: true });
    const namespace =
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: bench, labels: {istio.io/dataplane-mode: ambient}}\n';
    const nodes = Array.from(
      { length: size.nodes },
      (_, index) => `apiVersion: v1\nkind: Node\nmetadata: {name: node-${index}}\n`,
    );
    this.#write('base.yaml', joined([namespace, ...nodes]));
    const services = Array.from({ length: size.services }, (_, index) => serviceText(index));
    this.#write('services.yaml', joined(services));
    for (let first = 1; first < size.workloads; first += podsOfFile) {
      const count = Math.min(podsOfFile, size.workloads - first);
      const pods = Array.from({ length: count }, (_, i) =>
        podText(first + i, size, addressOf(first + i)),
      );
      this.#write(`pods-${first}.yaml`, joined(pods));
    }
    this.#write('changing.yaml', podText(0, size, addressOf(0)));
  }

  /** How many resources of both types it gives. */
  get resources(): number {
    // The policy that every mesh has is one of them.
    return this.#size.workloads + this.#size.services + 1;
  }

  /** Makes the change ready; the returned function makes it, with one rename. */
  prepareChange(): () => void {
    this.#changes += 1;
    const address = `10.63.${(this.#changes >> 8) & 255}.${this.#changes & 255}`;
    this.#write('next.tmp', podText(0, this.#size, address));
    return () => renameSync(join(this.path, 'next.tmp'), join(this.path, 'changing.yaml'));
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.path, name), text);
  }
}
