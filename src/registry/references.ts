// SPDX-License-Identifier: Apache-2.0
// What no single manifest can show: references that lead nowhere, and two objects that claim the
// same name or address.
import { keyOf, type MeshObjects } from '../mesh/objects.ts';
import { selects } from '../mesh/snapshot.ts';
import type { RegistryObject } from './fields.ts';
import type { Problem } from './problem.ts';
import type { PlacedObject } from './yaml-file.ts';

/** A problem and the object it keeps out. */
export interface ObjectProblem {
  readonly object: PlacedObject;
  readonly problem: Problem;
}

interface Complaint {
  readonly field: string;
  readonly message: string;
}

// Kubernetes makes these by itself; Istio's root namespace holds policies and need not hold more.
const impliedNamespaces: readonly string[] = ['istio-system'];
const impliedServiceAccount = 'default';

function idOf({ kind, value }: RegistryObject): string {
  return 'namespace' in value ? `${kind} ${keyOf(value)}` : `${kind} ${value.name}`;
}

// The objects that references can lead to.
class Targets {
  readonly #ids: ReadonlySet<string>;

  constructor(objects: readonly PlacedObject[]) {
    this.#ids = new Set(objects.map(({ object }) => idOf(object)));
  }

  #has(kind: RegistryObject['kind'], name: string): boolean {
    return this.#ids.has(`${kind} ${name}`);
  }

  complaintsOf({ kind, value }: RegistryObject): Complaint[] {
    const complaints: Complaint[] = [];
    if ('namespace' in value) {
      const { namespace } = value;
      if (!impliedNamespaces.includes(namespace) && !this.#has('Namespace', namespace)) {
        const message = `there is no Namespace ${namespace}`;
        complaints.push({ field: 'metadata.namespace', message });
      }
    }
    if (kind === 'Pod') {
      if (!this.#has('Node', value.node)) {
        complaints.push({ field: 'spec.nodeName', message: `there is no Node ${value.node}` });
      }
      const account = `${value.namespace}/${value.serviceAccount}`;
      if (value.serviceAccount !== impliedServiceAccount && !this.#has('ServiceAccount', account)) {
        const message = `there is no ServiceAccount ${account}`;
        complaints.push({ field: 'spec.serviceAccountName', message });
      }
    }
    return complaints;
  }
}

// What an object holds alone: its name, and the addresses it answers at.
function claimsOf(object: RegistryObject): string[] {
  const { kind, value } = object;
  const holdsAddresses =
    kind === 'Service' || (kind === 'Pod' && !value.hostNetwork && !value.finished);
  const addresses = holdsAddresses ? value.addresses : [];
  return [idOf(object), ...addresses.map((address) => `address ${address.join('.')}`)];
}

function problemAt({ place }: PlacedObject, { field, message }: Complaint): Problem {
  return { severity: 'error', ...place, field, message };
}

/** The errors that stand between objects. Of two that claim the same, the later one is at fault. */
export function crossCheck(objects: readonly PlacedObject[]): ObjectProblem[] {
  const targets = new Targets(objects);
  const holders = new Map<string, PlacedObject>();
  const found: ObjectProblem[] = [];
  for (const object of objects) {
    for (const complaint of targets.complaintsOf(object.object)) {
      found.push({ object, problem: problemAt(object, complaint) });
    }
    for (const claim of claimsOf(object.object)) {
      const holder = holders.get(claim);
      if (holder === undefined) {
        holders.set(claim, object);
        continue;
      }
      const { file, line } = holder.place;
      const what = claim.startsWith('address ') ? `one of its addresses` : `the name of ${claim}`;
      const message = `${what} is taken by ${idOf(holder.object)} at ${file}:${line}`;
      found.push({ object, problem: problemAt(object, { field: '', message }) });
    }
  }
  return found;
}

/** Sorts objects by kind. */
export function meshObjectsOf(placed: readonly PlacedObject[]): MeshObjects {
  const objects = placed.map(({ object }) => object);
  return {
    namespaces: objects.flatMap((o) => (o.kind === 'Namespace' ? [o.value] : [])),
    nodes: objects.flatMap((o) => (o.kind === 'Node' ? [o.value] : [])),
    serviceAccounts: objects.flatMap((o) => (o.kind === 'ServiceAccount' ? [o.value] : [])),
    pods: objects.flatMap((o) => (o.kind === 'Pod' ? [o.value] : [])),
    services: objects.flatMap((o) => (o.kind === 'Service' ? [o.value] : [])),
    policies: objects.flatMap((o) => (o.kind === 'AuthorizationPolicy' ? [o.value] : [])),
  };
}

/** What is allowed and probably not meant: a service whose selector matches no pod. */
export function warningsOf(placed: readonly PlacedObject[]): Problem[] {
  const pods = Map.groupBy(meshObjectsOf(placed).pods, ({ namespace }) => namespace);
  return placed.flatMap(({ object, place }) => {
    const selector = object.kind === 'Service' ? object.value.selector : undefined;
    if (object.kind !== 'Service' || selector === undefined) {
      return [];
    }
    const own = pods.get(object.value.namespace) ?? [];
    return own.some(({ labels }) => selects(selector, labels))
      ? []
      : [{ severity: 'warning', ...place, field: 'spec.selector', message: 'selects no pod' }];
  });
}
