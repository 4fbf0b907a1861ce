// SPDX-License-Identifier: Apache-2.0
// What no single manifest can show: references that lead nowhere, and two objects that claim the
// same name or address.
import { idOf, type MeshObject } from '../mesh/objects.ts';
import { serviceHostname } from '../mesh/services.ts';
import { meshDefaults } from '../mesh/snapshot.ts';
import type { Problem } from './problem.ts';
import type { PlacedObject } from './yaml-file.ts';

/** A problem and the object it keeps out. */
export interface ObjectProblem {
  readonly object: PlacedObject;
  readonly problem: Problem;
}

/** An object that another needs. */
export interface Reference {
  /** `idOf` the object that is needed. */
  readonly id: string;
  /** The field that names it. */
  readonly field: string;
}

// Kubernetes makes these by itself; Istio's root namespace holds policies and need not hold more.
const impliedNamespaces: readonly string[] = [meshDefaults.rootNamespace];
const impliedServiceAccount = 'default';

/** The objects without which this one is wrong. */
export function referencesOf({ kind, value }: MeshObject): Reference[] {
  const references: Reference[] = [];
  if ('namespace' in value && !impliedNamespaces.includes(value.namespace)) {
    references.push({ id: `Namespace ${value.namespace}`, field: 'metadata.namespace' });
  }
  if (kind === 'Pod') {
    references.push({ id: `Node ${value.node}`, field: 'spec.nodeName' });
    if (value.serviceAccount !== impliedServiceAccount) {
      const id = `ServiceAccount ${value.namespace}/${value.serviceAccount}`;
      references.push({ id, field: 'spec.serviceAccountName' });
    }
  }
  if (kind === 'EndpointSlice') {
    const id = `Service ${value.namespace}/${value.service}`;
    references.push({ id, field: 'metadata.labels.kubernetes.io/service-name' });
  }
  return references;
}

function ownAddresses({ kind, value }: MeshObject): readonly Uint8Array[] {
  if (kind === 'Service') {
    return value.addresses;
  }
  return kind === 'Pod' && !value.hostNetwork && !value.finished ? value.addresses : [];
}

function hostsOf({ kind, value }: MeshObject): readonly string[] {
  if (kind === 'Service') {
    return [`${value.namespace}/${serviceHostname(value, meshDefaults.clusterDomain)}`];
  }
  return kind === 'ServiceEntry' ? value.hosts.map((host) => `${value.namespace}/${host}`) : [];
}

/** What an object holds alone: its name, its hostnames, and the addresses it answers at. */
export function claimsOf(object: MeshObject): string[] {
  return [
    idOf(object),
    ...hostsOf(object).map((host) => `host ${host}`),
    ...ownAddresses(object).map((address) => `address ${address.join('.')}`),
  ];
}

function problemAt({ place }: PlacedObject, field: string, message: string): Problem {
  return { severity: 'error', ...place, field, message };
}

/** The error of an object whose reference leads nowhere. */
export function danglingProblem(object: PlacedObject, { id, field }: Reference): ObjectProblem {
  return { object, problem: problemAt(object, field, `there is no ${id}`) };
}

/** The error of an object that claims what another holds. */
export function claimProblem(
  object: PlacedObject,
  claim: string,
  holder: PlacedObject,
): ObjectProblem {
  const { file, line } = holder.place;
  const what = claim.startsWith('address ') ? `one of its addresses` : `the name of ${claim}`;
  const message = `${what} is taken by ${idOf(holder.object)} at ${file}:${line}`;
  return { object, problem: problemAt(object, '', message) };
}

/** The errors that stand between objects. Of two that claim the same, the later one is at fault. */
export function crossCheck(objects: readonly PlacedObject[]): ObjectProblem[] {
  const ids = new Set(objects.map(({ object }) => idOf(object)));
  const holders = new Map<string, PlacedObject>();
  const found: ObjectProblem[] = [];
  for (const placed of objects) {
    const dangling = referencesOf(placed.object).filter(({ id }) => !ids.has(id));
    found.push(...dangling.map((reference) => danglingProblem(placed, reference)));
    // One claim is enough to be at fault: others mostly follow from it.
    const claims = claimsOf(placed.object);
    const taken = claims.find((claim) => holders.has(claim));
    const holder = taken === undefined ? undefined : holders.get(taken);
    if (taken !== undefined && holder !== undefined) {
      found.push(claimProblem(placed, taken, holder));
    }
    for (const claim of claims.filter((each) => !holders.has(each))) {
      holders.set(claim, placed);
    }
  }
  return found;
}
