// SPDX-License-Identifier: Apache-2.0
// Which workloads have to be made anew when an object changes.
import type { MeshIndex } from './mesh-index.ts';
import {
  type EndpointSlice,
  type Kind,
  keyOf,
  type Labels,
  type MeshObject,
  type ObjectOf,
  type PeerAuthentication,
  type Pod,
  type Policy,
} from './objects.ts';
import { sameLabels, selects } from './selectors.ts';
import { enrolment, localityOf } from './workloads.ts';

/** One object in two states; one of them may be missing, and both have the same kind and name. */
export interface Edit {
  readonly before: MeshObject | undefined;
  readonly after: MeshObject | undefined;
}

interface Selecting {
  readonly selector: Labels | undefined;
}

type Spread = (affected: Affected, edit: Edit) => void;

/** Keys of what has to be made anew. Tell it of edits once the index has all of them. */
export class Affected {
  readonly #index: MeshIndex;
  readonly #rootNamespace: string;
  readonly pods: Set<string> = new Set();
  readonly workloadEntries: Set<string> = new Set();
  readonly serviceEntries: Set<string> = new Set();
  readonly slices: Set<string> = new Set();
  /** Namespaces whose PeerAuthentications mean something else now. */
  readonly peerSpaces: Set<string> = new Set();

  constructor(index: MeshIndex, rootNamespace: string) {
    this.#index = index;
    this.#rootNamespace = rootNamespace;
  }

  /** Adds all that an edit affects. */
  add(edit: Edit): void {
    const kind = (edit.after ?? edit.before)?.kind;
    if (kind !== undefined) {
      spreads[kind](this, edit);
    }
  }

  #labelled(namespace: string | undefined, isAffected: (labels: Labels) => boolean): void {
    const { pods, workloadEntries } = this.#index;
    for (const pod of namespace === undefined ? pods.values() : pods.in(namespace)) {
      if (isAffected(pod.labels)) {
        this.pods.add(keyOf(pod));
      }
    }
    const entries =
      namespace === undefined ? workloadEntries.values() : workloadEntries.in(namespace);
    for (const entry of entries) {
      if (isAffected(entry.endpoint.labels)) {
        this.workloadEntries.add(keyOf(entry));
      }
    }
  }

  // Those that either state of a selector chooses. Undefined chooses nothing here.
  #selected(namespace: string | undefined, ...states: (Selecting | undefined)[]): void {
    const selectors = states.flatMap((state) =>
      state?.selector === undefined ? [] : [state.selector],
    );
    if (selectors.length > 0) {
      this.#labelled(namespace, (labels) =>
        selectors.some((selector) => selects(selector, labels)),
      );
    }
  }

  namespace(name: string): void {
    for (const pod of this.#index.pods.in(name)) {
      this.pods.add(keyOf(pod));
    }
  }

  node(name: string): void {
    for (const key of this.#index.podsOfNode.of(name)) {
      this.pods.add(key);
    }
    // Slices that name a node are few, and no look-up of their own is worth its keep.
    for (const slice of this.#index.slices.values()) {
      if (slice.endpoints.some((endpoint) => endpoint.node === name)) {
        this.slices.add(keyOf(slice));
      }
    }
  }

  pod(pod: Pod): void {
    this.pods.add(keyOf(pod));
    for (const key of this.#index.slicesAbout(pod)) {
      this.slices.add(key);
    }
  }

  service(namespace: string, name: string, ...states: (Selecting | undefined)[]): void {
    this.#selected(namespace, ...states);
    for (const key of this.#index.slicesOfService.of(this.#index.serviceKey(namespace, name))) {
      const slice = this.#index.slices.get(key);
      if (slice !== undefined) {
        this.slice(slice);
      }
    }
  }

  selected(namespace: string, ...states: (Selecting | undefined)[]): void {
    this.#selected(namespace, ...states);
  }

  slice(slice: EndpointSlice): void {
    this.slices.add(keyOf(slice));
    for (const key of this.#index.podsIn(slice)) {
      this.pods.add(key);
    }
  }

  policy(before: Policy | undefined, after: Policy | undefined): void {
    const namespace = (after ?? before)?.namespace;
    // What a policy says is no part of the workloads that name it.
    if (!sameLabels(before?.selector, after?.selector) || before === undefined) {
      this.#selected(namespace === this.#rootNamespace ? undefined : namespace, before, after);
    }
  }

  peerAuthentication(object: PeerAuthentication): void {
    const isForAll = object.namespace === this.#rootNamespace && object.selector === undefined;
    if (isForAll) {
      for (const { namespace } of this.#index.peerAuthentications.values()) {
        this.peerSpaces.add(namespace);
      }
    }
    this.peerSpaces.add(object.namespace);
    // Which of several counts may have changed, so the selector does not tell who is affected.
    this.#labelled(isForAll ? undefined : object.namespace, () => true);
  }
}

function both<K extends Kind>(
  _kind: K,
  { before, after }: Edit,
): readonly [ObjectOf<K> | undefined, ObjectOf<K> | undefined] {
  // The kind is the one that the compiler cannot see.
  return [before?.value, after?.value] as [ObjectOf<K> | undefined, ObjectOf<K> | undefined];
}

function each<K extends Kind>(kind: K, edit: Edit, use: (object: ObjectOf<K>) => void): void {
  for (const state of both(kind, edit)) {
    if (state !== undefined) {
      use(state);
    }
  }
}

const spreads: Readonly<Record<Kind, Spread>> = {
  Namespace: (affected, edit) => {
    const [before, after] = both('Namespace', edit);
    if (enrolment(before?.labels ?? {}) !== enrolment(after?.labels ?? {})) {
      affected.namespace((after ?? before)?.name ?? '');
    }
  },
  Node: (affected, edit) => {
    const [before, after] = both('Node', edit);
    if (JSON.stringify(localityOf(before)) !== JSON.stringify(localityOf(after))) {
      affected.node((after ?? before)?.name ?? '');
    }
  },
  ServiceAccount: () => undefined,
  Pod: (affected, edit) => each('Pod', edit, (pod) => affected.pod(pod)),
  Service: (affected, edit) => {
    const [before, after] = both('Service', edit);
    const { namespace = '', name = '' } = after ?? before ?? {};
    affected.service(namespace, name, before, after);
  },
  EndpointSlice: (affected, edit) => each('EndpointSlice', edit, (slice) => affected.slice(slice)),
  ServiceEntry: (affected, edit) => {
    const [before, after] = both('ServiceEntry', edit);
    each('ServiceEntry', edit, (entry) => affected.serviceEntries.add(keyOf(entry)));
    affected.selected((after ?? before)?.namespace ?? '', before, after);
  },
  WorkloadEntry: (affected, edit) =>
    each('WorkloadEntry', edit, (entry) => affected.workloadEntries.add(keyOf(entry))),
  AuthorizationPolicy: (affected, edit) => {
    affected.policy(...both('AuthorizationPolicy', edit));
  },
  // Goes out with the roots, not with workloads.
  DenyList: () => undefined,
  // Goes out by itself.
  MeshConfig: () => undefined,
  PeerAuthentication: (affected, edit) =>
    each('PeerAuthentication', edit, (object) => affected.peerAuthentication(object)),
};
