// SPDX-License-Identifier: Apache-2.0
// What is allowed and probably not meant.
import { keyOf, type Labels, type MeshObject, type Pod } from '../mesh/objects.ts';
import { byText, selects } from '../mesh/selectors.ts';
import { meshDefaults } from '../mesh/snapshot.ts';
import { enrolment } from '../mesh/workloads.ts';
import type { Problem } from './problem.ts';
import type { PlacedObject } from './yaml-file.ts';

interface Complaint {
  readonly field: string;
  readonly message: string;
}

interface Selecting {
  readonly selector: Labels;
  readonly field: string;
  /** Where what it selects may be; undefined for everywhere. */
  readonly namespace: string | undefined;
}

function selectingOf({ kind, value }: MeshObject): Selecting | undefined {
  switch (kind) {
    case 'Service':
    case 'PeerAuthentication':
    case 'AuthorizationPolicy':
    case 'ServiceEntry': {
      const { selector, namespace } = value;
      const isForAll = kind === 'AuthorizationPolicy' && namespace === meshDefaults.rootNamespace;
      const field = kind === 'ServiceEntry' ? 'spec.workloadSelector' : 'spec.selector';
      return selector === undefined
        ? undefined
        : { selector, field, namespace: isForAll ? undefined : namespace };
    }
    default:
      return undefined;
  }
}

// The objects that complaints are found in.
class Scene {
  readonly #labels: ReadonlyMap<string, readonly Labels[]>;
  readonly #pods: ReadonlySet<string>;
  readonly #enrolments: ReadonlyMap<string, string | undefined>;
  // The first by name of those for the same workloads.
  readonly #peers: ReadonlyMap<string, string>;

  constructor(objects: readonly MeshObject[]) {
    const labels = new Map<string, Labels[]>();
    const add = (namespace: string, own: Labels): void => {
      const all = labels.get(namespace) ?? [];
      all.push(own);
      labels.set(namespace, all);
    };
    const pods = new Set<string>();
    const enrolments = new Map<string, string | undefined>();
    const peers = new Map<string, string>();
    for (const { kind, value } of objects) {
      if (kind === 'Pod') {
        pods.add(keyOf(value));
        add(value.namespace, value.labels);
      } else if (kind === 'WorkloadEntry') {
        add(value.namespace, value.endpoint.labels);
      } else if (kind === 'Namespace') {
        enrolments.set(value.name, enrolment(value.labels));
      } else if (kind === 'PeerAuthentication' && value.selector === undefined) {
        const other = peers.get(value.namespace);
        peers.set(value.namespace, [value.name, other ?? value.name].sort(byText)[0] ?? '');
      }
    }
    this.#labels = labels;
    this.#pods = pods;
    this.#enrolments = enrolments;
    this.#peers = peers;
  }

  #isSelecting({ selector, namespace }: Selecting): boolean {
    const spaces = namespace === undefined ? [...this.#labels.keys()] : [namespace];
    return spaces.some((space) =>
      (this.#labels.get(space) ?? []).some((labels) => selects(selector, labels)),
    );
  }

  #ofPod(pod: Pod): Complaint[] {
    const mode = enrolment(pod.labels) ?? this.#enrolments.get(pod.namespace);
    return pod.hostNetwork && mode === 'ambient'
      ? [
          {
            field: 'spec.hostNetwork',
            message: 'a pod in the network of its node is never enrolled; its traffic is plaintext',
          },
        ]
      : [];
  }

  #ofReferences({ kind, value }: MeshObject): Complaint[] {
    if (kind === 'EndpointSlice') {
      return value.endpoints.flatMap(({ pod }, index) =>
        pod === undefined || this.#pods.has(`${value.namespace}/${pod}`)
          ? []
          : [{ field: `endpoints[${index}].targetRef`, message: `there is no Pod ${pod}` }],
      );
    }
    if (kind === 'PeerAuthentication' && value.selector === undefined) {
      const first = this.#peers.get(value.namespace);
      return first === value.name
        ? []
        : [{ field: '', message: `${first} is for the same workloads and counts instead` }];
    }
    return [];
  }

  complaintsOf(object: MeshObject): Complaint[] {
    const selecting = selectingOf(object);
    return [
      ...(selecting !== undefined && !this.#isSelecting(selecting)
        ? [{ field: selecting.field, message: 'selects no pod' }]
        : []),
      ...(object.kind === 'Pod' ? this.#ofPod(object.value) : []),
      ...this.#ofReferences(object),
    ];
  }
}

/** The warnings about objects that are in force: selectors that choose nothing, and the like. */
export function warningsOf(placed: readonly PlacedObject[]): Problem[] {
  const scene = new Scene(placed.map(({ object }) => object));
  return placed.flatMap(({ object, place }) =>
    scene
      .complaintsOf(object)
      .map((complaint): Problem => ({ severity: 'warning', ...place, ...complaint })),
  );
}
