// SPDX-License-Identifier: Apache-2.0
// Turns PeerAuthentication into policies that deny clients without an identity, as Istio does for
// its node proxies: the proxy then needs no other notion of STRICT.
import {
  keyOf,
  type PeerAuthentication,
  type PeerMode,
  type Policy,
  type PolicyMatch,
} from './objects.ts';
import { byText, type Labelled, selects } from './selectors.ts';

/** Name of the policy that denies every client without an identity, in the root namespace. */
export const strictPolicyName = 'istio_converted_static_strict';

const convertedPrefix = 'converted_peer_authentication_';

// Holds for every client that showed no identity, which has no principal.
const noIdentity: PolicyMatch = { notPrincipals: [{ kind: 'presence' }] };

function deny(namespace: string, name: string, matches: readonly PolicyMatch[]): Policy {
  return {
    namespace,
    name,
    // Bound by name alone: it selects nothing by itself.
    selector: {},
    action: 'deny',
    rules: [matches.map((match) => [match])],
    dryRun: false,
  };
}

/** The policy for workloads that are strict on all their ports. */
export function strictPolicy(rootNamespace: string): Policy {
  return deny(rootNamespace, strictPolicyName, [noIdentity]);
}

/** The mode of a level, seen from the one below it. */
function inherited(own: PeerMode | undefined, above: PeerMode): PeerMode {
  return own === undefined || own === 'unset' ? above : own;
}

function byName(a: PeerAuthentication, b: PeerAuthentication): number {
  return byText(a.name, b.name);
}

/** Of several for the same workloads the first by name counts. */
function firstOf(all: readonly PeerAuthentication[]): PeerAuthentication | undefined {
  return all.toSorted(byName)[0];
}

/** The PeerAuthentications of one namespace, under the mode of the whole mesh. */
export class PeerRules {
  readonly #rootNamespace: string;
  readonly #mode: PeerMode;
  readonly #selecting: readonly PeerAuthentication[];

  /**
   * @param own those of the namespace, in any order.
   * @param root those of the root namespace: the one without a selector is for the whole mesh.
   */
  constructor(
    own: readonly PeerAuthentication[],
    root: readonly PeerAuthentication[],
    rootNamespace: string,
  ) {
    this.#rootNamespace = rootNamespace;
    const wide = (all: readonly PeerAuthentication[]): PeerMode | undefined =>
      firstOf(all.filter(({ selector }) => selector === undefined))?.mode;
    const mesh = inherited(wide(root), 'permissive');
    this.#mode = inherited(wide(own), mesh);
    this.#selecting = own.filter(({ selector }) => selector !== undefined).sort(byName);
  }

  /** Name of the policy that a workload has to name; undefined when plaintext may come in. */
  policyOf(workload: Labelled): string | undefined {
    const own = this.#selecting.find(({ selector }) => selects(selector ?? {}, workload.labels));
    const converted = own === undefined ? undefined : this.convert(own);
    if (converted !== undefined) {
      return keyOf(converted);
    }
    return inherited(own?.mode, this.#mode) === 'strict'
      ? `${this.#rootNamespace}/${strictPolicyName}`
      : undefined;
  }

  /** The policy for one whose ports differ; undefined when all are alike. */
  convert(own: PeerAuthentication): Policy | undefined {
    const isStrict = inherited(own.mode, this.#mode) === 'strict';
    const differing = [...own.ports]
      .filter(([, mode]) => mode !== 'unset' && (mode === 'strict') !== isStrict)
      .map(([port]) => port)
      .sort((a, b) => a - b);
    if (own.selector === undefined || differing.length === 0) {
      return undefined;
    }
    const ports = isStrict ? { notDestinationPorts: differing } : { destinationPorts: differing };
    return deny(own.namespace, `${convertedPrefix}${own.name}`, [noIdentity, ports]);
  }
}
