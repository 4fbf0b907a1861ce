// SPDX-License-Identifier: Apache-2.0
// What a mesh is made of, as registries report it: checked, resolved and free of Kubernetes
// detail that nothing here reads.
import type { Cidr } from '../lib/ip.ts';

/** Labels, or a selector over them. */
export type Labels = Readonly<Record<string, string>>;

/** A namespace. */
export interface Namespace {
  readonly name: string;
  readonly labels: Labels;
}

/** A machine that runs pods. */
export interface Node {
  readonly name: string;
  readonly labels: Labels;
}

/** A service account: what an identity is issued for. */
export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
}

/** A port that a container declares by name. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
}

/** A pod that is placed on a node. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly node: string;
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  /** 4 or 16 bytes each; none while the pod has no network yet. */
  readonly addresses: readonly Uint8Array[];
  readonly ports: readonly NamedPort[];
  /** It will never run again, so it holds neither its address nor its identity. */
  readonly finished: boolean;
  /** It may be sent traffic. */
  readonly ready: boolean;
}

/** A TCP port of a service. */
export interface ServicePort {
  readonly port: number;
  /** A number, or the name of a container's port. */
  readonly target: number | string;
  readonly appProtocol?: AppProtocol;
}

/** What is spoken on a port, when the service says it. */
export type AppProtocol = 'http11' | 'http2' | 'grpc' | 'tcp' | 'tls';

/** How endpoints close to the client are preferred. */
export type TrafficDistribution = 'any' | 'preferSameZone' | 'preferSameNode' | 'onlySameNode';

/** A service: a name and addresses in front of the pods that its selector matches. */
export interface Service {
  readonly namespace: string;
  readonly name: string;
  /** None for a headless service. */
  readonly addresses: readonly Uint8Array[];
  readonly ports: readonly ServicePort[];
  /** Undefined when the service selects nothing. */
  readonly selector: Labels | undefined;
  readonly distribution: TrafficDistribution;
  /** Pods that are not ready are endpoints too. */
  readonly allowNotReady: boolean;
}

/** A condition on a text: the text itself, its head, its tail, or that there is one. */
export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  | { readonly kind: 'presence' };

/** A service account that a policy names. */
export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** All the fields that are set must hold: a plain list if any entry does, a `not` list if none. */
export interface PolicyMatch {
  readonly namespaces?: readonly StringMatch[];
  readonly notNamespaces?: readonly StringMatch[];
  readonly principals?: readonly StringMatch[];
  readonly notPrincipals?: readonly StringMatch[];
  readonly sourceIps?: readonly Cidr[];
  readonly notSourceIps?: readonly Cidr[];
  readonly destinationIps?: readonly Cidr[];
  readonly notDestinationIps?: readonly Cidr[];
  readonly destinationPorts?: readonly number[];
  readonly notDestinationPorts?: readonly number[];
  readonly serviceAccounts?: readonly ServiceAccountMatch[];
  readonly notServiceAccounts?: readonly ServiceAccountMatch[];
}

/** A rule holds when each of its clauses does, and a clause when one of its matches does. */
export type PolicyRule = readonly (readonly PolicyMatch[])[];

/** An L4 authorization policy. */
export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** Undefined when the policy is for the whole namespace, or the whole mesh. */
  readonly selector: Labels | undefined;
  readonly action: 'allow' | 'deny';
  /** One of them must hold. None at all never holds. */
  readonly rules: readonly PolicyRule[];
  /** Evaluated and logged, never enforced. */
  readonly dryRun: boolean;
}

/** Everything a registry knows, at one moment. */
export interface MeshObjects {
  readonly namespaces: readonly Namespace[];
  readonly nodes: readonly Node[];
  readonly serviceAccounts: readonly ServiceAccount[];
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** The key of a namespaced object, as it stands in resource names and log lines. */
export function keyOf(object: { readonly namespace: string; readonly name: string }): string {
  return `${object.namespace}/${object.name}`;
}
