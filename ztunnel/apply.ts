// SPDX-License-Identifier: Apache-2.0
// The one road from the control plane's resources to the engine's tables.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Protocol, type TablesDeltaSchema } from '../native/gen/tables_pb.js';
import { MeshError } from '../src/lib/error.ts';
import type { UpdateOf } from '../src/xds/client.ts';
import { typeUrls } from '../src/xds/wire.ts';
import {
  parseTableAddress,
  spiffeIdOf,
  type TableService,
  type TableWorkload,
} from './translate.ts';
import { parseTablePolicy, standInOf, type TablePolicy } from './translate-policy.ts';

/** A change of the engine's tables. */
export type Delta = MessageInitShape<typeof TablesDeltaSchema>;

/** What takes the tables: the engine. It applies a delta whole or throws and changes nothing. */
export interface TableSink {
  apply(delta: Delta): void;
}

/** Who a pod says it is. */
export interface PodClaim {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

type PolicyUpdate = UpdateOf<typeof typeUrls.authorization>;
type AddressUpdate = UpdateOf<typeof typeUrls.address>;

/** One resource, ready for the tables: what it adds, or what it takes away. */
type Step =
  | { readonly kind: 'workload'; readonly name: string; readonly workload: TableWorkload }
  | { readonly kind: 'service'; readonly name: string; readonly service: TableService }
  | { readonly kind: 'policy'; readonly name: string; readonly policy: TablePolicy }
  | { readonly kind: 'policy gone'; readonly name: string }
  | { readonly kind: 'gone'; readonly name: string };

/**
 * Keeps the engine's tables equal to what the control plane said, and remembers the workloads for
 * those who ask by uid or by place. A resource that breaks a rule is left out and named; its last
 * good version stays in force, and a policy that has none is stood in for by one that denies.
 * Main thread only.
 */
export class Applier {
  readonly #sink: TableSink;
  readonly #node: string;
  readonly #workloads = new Map<string, TableWorkload>();
  readonly #local = new Map<string, TableWorkload>();
  readonly #services = new Map<string, TableService>();
  readonly #policies = new Map<string, TablePolicy>();
  readonly #listeners = new Set<() => void>();

  /** @param node the name of this node, by which local workloads are known. */
  constructor(sink: TableSink, node: string) {
    this.#sink = sink;
    this.#node = node;
  }

  /**
   * Applies one update; returns the rejected names with the reason of each. A name that is both
   * changed and removed counts as changed.
   */
  update(update: PolicyUpdate | AddressUpdate): ReadonlyMap<string, string> {
    const rejected = new Map<string, string>();
    const came = new Set([...update.changed.keys(), ...update.broken]);
    const removed = update.removed.filter((name) => !came.has(name));
    if (update.type === typeUrls.authorization) {
      this.#updatePolicies(update, removed, rejected);
    } else {
      const gone = removed.map((name): Step => ({ kind: 'gone', name }));
      this.#apply([...this.#addressSteps(update.changed, rejected), ...gone], false, rejected);
    }
    for (const listener of [...this.#listeners]) {
      listener();
    }
    return rejected;
  }

  /** The workload of this uid, as it is in force. */
  workload(uid: string): TableWorkload | undefined {
    return this.#workloads.get(uid);
  }

  /** The service of this key ("namespace/hostname"), as it is in force. */
  service(key: string): TableService | undefined {
    return this.#services.get(key);
  }

  /** Everything in force, for those who show it. */
  workloads(): Iterable<TableWorkload> {
    return this.#workloads.values();
  }

  services(): Iterable<TableService> {
    return this.#services.values();
  }

  policies(): Iterable<TablePolicy> {
    return this.#policies.values();
  }

  /** The SPIFFE IDs of the enrolled workloads that the control plane places on this node. */
  localIdentities(): ReadonlySet<string> {
    const enrolled = [...this.#local.values()].filter(
      ({ protocol, hostNetwork }) => protocol === Protocol.HBONE && hostNetwork !== true,
    );
    return new Set(enrolled.map(spiffeIdOf));
  }

  /**
   * The workload that the control plane places on this node under exactly this claim; undefined,
   * so that the claim is refused, when there is none.
   */
  placed(claim: PodClaim): TableWorkload | undefined {
    for (const workload of this.#local.values()) {
      if (
        workload.name === claim.name &&
        workload.namespace === claim.namespace &&
        workload.serviceAccount === claim.serviceAccount
      ) {
        return workload;
      }
    }
    return undefined;
  }

  /** As `placed`, but waits up to `timeoutMs` for the workload to appear. */
  waitPlaced(claim: PodClaim, timeoutMs: number): Promise<TableWorkload | undefined> {
    const now = this.placed(claim);
    if (now !== undefined || timeoutMs <= 0) {
      return Promise.resolve(now);
    }
    return new Promise((resolve) => {
      const finish = (workload: TableWorkload | undefined): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        resolve(workload);
      };
      const look = (): void => {
        const found = this.placed(claim);
        if (found !== undefined) {
          finish(found);
        }
      };
      const timer = setTimeout(() => finish(undefined), timeoutMs);
      this.#listeners.add(look);
    });
  }

  /** Calls `listener` after each update, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // `policiesReceived` opens the way for traffic, so it is said only with or after everything that
  // denies, stand-ins too.
  #updatePolicies(
    { changed, broken }: PolicyUpdate,
    removed: readonly string[],
    rejected: Map<string, string>,
  ): void {
    const good = this.#policySteps(changed, rejected);
    const lost = this.#standIns([...broken, ...rejected.keys()], changed);
    const gone = removed.map((name): Step => ({ kind: 'policy gone', name }));
    const refused = new Map<string, string>();
    if (this.#apply([...good, ...lost, ...gone], true, refused)) {
      return;
    }
    const late = new Map<string, string>();
    this.#applySingly(this.#standIns([...refused.keys()], changed), late);
    for (const [name, reason] of [...refused, ...late]) {
      rejected.set(name, late.has(name) ? `not stood in for either: ${reason}` : reason);
    }
    this.#sink.apply({ policiesReceived: true });
  }

  #policySteps(changed: PolicyUpdate['changed'], rejected: Map<string, string>): Step[] {
    const steps: Step[] = [];
    for (const [name, wire] of changed) {
      const parsed = parseTablePolicy(wire);
      if (!parsed.ok) {
        rejected.set(name, parsed.error.message);
      } else if (parsed.value.key !== name) {
        rejected.set(name, 'the resource name is not the policy namespace/name');
      } else {
        steps.push({ kind: 'policy', name, policy: parsed.value });
      }
    }
    return steps;
  }

  #addressSteps(changed: AddressUpdate['changed'], rejected: Map<string, string>): Step[] {
    const steps: Step[] = [];
    for (const [name, wire] of changed) {
      const parsed = parseTableAddress(name, wire);
      if (!parsed.ok) {
        rejected.set(name, parsed.error.message);
      } else if (parsed.value.kind === 'workload') {
        steps.push({ kind: 'workload', name, workload: parsed.value.workload });
      } else {
        steps.push({ kind: 'service', name, service: parsed.value.service });
      }
    }
    return steps;
  }

  // The whole update in one delta; only when the engine refuses that, one resource at a time, to
  // learn which it was and to keep the good ones. `policiesReceived` is said only when this
  // returns true: the delta went in whole.
  #apply(steps: readonly Step[], policiesReceived: boolean, refused: Map<string, string>): boolean {
    try {
      this.#sink.apply({ ...this.#deltaOf(steps), policiesReceived });
      for (const step of steps) {
        this.#remember(step);
      }
      return true;
    } catch (error) {
      if (steps.length === 0) {
        throw error;
      }
    }
    this.#applySingly(steps, refused);
    return false;
  }

  #applySingly(steps: readonly Step[], refused: Map<string, string>): void {
    for (const step of steps) {
      try {
        this.#sink.apply(this.#deltaOf([step]));
        this.#remember(step);
      } catch (error) {
        refused.set(step.name, MeshError.from(error).message);
      }
    }
  }

  #standIns(lost: readonly string[], changed: PolicyUpdate['changed']): Step[] {
    return lost.flatMap((name): Step[] => {
      const policy = this.#policies.has(name) ? undefined : standInOf(name, changed.get(name));
      return policy === undefined ? [] : [{ kind: 'policy', name, policy }];
    });
  }

  #deltaOf(steps: readonly Step[]): Delta {
    const addresses = steps.filter(({ kind }) => kind !== 'policy' && kind !== 'policy gone');
    return {
      workloads: steps.flatMap((step) => (step.kind === 'workload' ? [step.workload] : [])),
      services: steps.flatMap((step) => (step.kind === 'service' ? [step.service] : [])),
      policies: steps.flatMap((step) => (step.kind === 'policy' ? [step.policy] : [])),
      removedPolicies: steps.flatMap(({ kind, name }) =>
        kind === 'policy gone' && this.#policies.has(name) ? [name] : [],
      ),
      // A name may also have changed from the one kind to the other.
      removedWorkloads: addresses.flatMap(({ kind, name }) =>
        kind !== 'workload' && this.#workloads.has(name) ? [name] : [],
      ),
      removedServices: addresses.flatMap(({ kind, name }) =>
        kind !== 'service' && this.#services.has(name) ? [name] : [],
      ),
    };
  }

  #remember(step: Step): void {
    if (step.kind === 'policy' || step.kind === 'policy gone') {
      this.#rememberPolicy(step);
      return;
    }
    this.#workloads.delete(step.name);
    this.#local.delete(step.name);
    this.#services.delete(step.name);
    if (step.kind === 'service') {
      this.#services.set(step.name, step.service);
    } else if (step.kind === 'workload') {
      this.#workloads.set(step.name, step.workload);
      if (step.workload.node === this.#node) {
        this.#local.set(step.name, step.workload);
      }
    }
  }

  #rememberPolicy(step: Step): void {
    if (step.kind === 'policy') {
      this.#policies.set(step.name, step.policy);
    } else {
      this.#policies.delete(step.name);
    }
  }
}
