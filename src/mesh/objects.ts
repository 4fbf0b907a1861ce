// SPDX-License-Identifier: Apache-2.0
// What a mesh is made of, as registries report it: checked, resolved and free of Kubernetes
// detail that nothing here reads.
import type { Cidr } from '../lib/ip.ts';
import type { MeshConfig } from '../lib/pod-settings.ts';

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
  /** Its name in a headless service of the name `subdomain`; empty when it has none. */
  readonly hostname: string;
  readonly subdomain: string;
}

/** A TCP port of a service. */
export interface ServicePort {
  /** Empty when it has none. */
  readonly name: string;
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

/** Whether clients may, must or need not prove who they are. */
export type PeerMode = 'unset' | 'disable' | 'permissive' | 'strict';

/** What workloads ask of their clients: those it selects, its namespace's, or all of the mesh. */
export interface PeerAuthentication {
  readonly namespace: string;
  readonly name: string;
  readonly selector: Labels | undefined;
  readonly mode: PeerMode;
  /** Exceptions, by the number of the port the application listens on. */
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** A port that one endpoint serves. Without a number it serves the number of the service. */
export interface SlicePort {
  /** Empty when it has none. */
  readonly name: string;
  readonly port: number | undefined;
}

/** One endpoint of a slice. */
export interface SliceEndpoint {
  readonly addresses: readonly Uint8Array[];
  readonly ready: boolean;
  /** The name of the pod that it is, in the namespace of the slice. */
  readonly pod: string | undefined;
  readonly node: string;
  readonly zone: string;
}

/** Endpoints of a service, written down one by one. */
export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** The name of the service they belong to. */
  readonly service: string;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
}

/** A machine, or an endpoint that is none of the mesh's pods. */
export interface Endpoint {
  /** An IP address; undefined when only a hostname is known, or nothing. */
  readonly address: Uint8Array | undefined;
  /** A hostname to be resolved where the connection starts; empty when there is an address. */
  readonly hostname: string;
  /** Numbers of ports, by the name of the service's port. */
  readonly ports: ReadonlyMap<string, number>;
  readonly labels: Labels;
  /** Empty: the network of the mesh. */
  readonly network: string;
  /** `REGION/ZONE/SUBZONE`, the parts that are known. */
  readonly locality: string;
  readonly weight: number;
  readonly serviceAccount: string;
}

/** A machine that takes part in services as a pod does. */
export interface WorkloadEntry {
  readonly namespace: string;
  readonly name: string;
  readonly endpoint: Endpoint;
}

/** How the endpoints of a service entry are found. */
export type Resolution = 'none' | 'static' | 'dns';

/** Names and addresses that the platform does not know, as services. */
export interface ServiceEntry {
  readonly namespace: string;
  readonly name: string;
  readonly hosts: readonly string[];
  readonly addresses: readonly Cidr[];
  readonly ports: readonly ServicePort[];
  readonly resolution: Resolution;
  readonly endpoints: readonly Endpoint[];
  /** Pods and workload entries of its namespace that are its endpoints. */
  readonly selector: Labels | undefined;
  /** Identities its endpoints may have besides their own, as SPIFFE IDs. */
  readonly subjectAltNames: readonly string[];
  /** Seen by clients of its own namespace alone. */
  readonly isPrivate: boolean;
}

/** Whom and what the whole mesh refuses although the certificate is good. */
export interface DenyList {
  readonly name: string;
  /** SPIFFE IDs. */
  readonly identities: readonly string[];
  /** Of leaf certificates: hexadecimal, lower case, without leading zeros. */
  readonly serials: readonly string[];
}

/** What counts for pods of the whole mesh. There is one, if any. */
export interface NamedMeshConfig extends MeshConfig {
  readonly name: string;
}

/** An object of the mesh with its kind. */
export type MeshObject =
  | { readonly kind: 'Namespace'; readonly value: Namespace }
  | { readonly kind: 'Node'; readonly value: Node }
  | { readonly kind: 'ServiceAccount'; readonly value: ServiceAccount }
  | { readonly kind: 'Pod'; readonly value: Pod }
  | { readonly kind: 'Service'; readonly value: Service }
  | { readonly kind: 'EndpointSlice'; readonly value: EndpointSlice }
  | { readonly kind: 'ServiceEntry'; readonly value: ServiceEntry }
  | { readonly kind: 'WorkloadEntry'; readonly value: WorkloadEntry }
  | { readonly kind: 'AuthorizationPolicy'; readonly value: Policy }
  | { readonly kind: 'PeerAuthentication'; readonly value: PeerAuthentication }
  | { readonly kind: 'DenyList'; readonly value: DenyList }
  | { readonly kind: 'MeshConfig'; readonly value: NamedMeshConfig };

/** A kind of object. */
export type Kind = MeshObject['kind'];

/** The object of a kind. */
export type ObjectOf<K extends Kind> = Extract<MeshObject, { kind: K }>['value'];

/** What leads from one state of a registry to the next. An object that changed is in both lists. */
export interface MeshChange {
  readonly removed: readonly MeshObject[];
  readonly added: readonly MeshObject[];
}

/** Kind and name of an object: no two objects of a registry have the same. */
export function idOf({ kind, value }: MeshObject): string {
  return 'namespace' in value ? `${kind} ${keyOf(value)}` : `${kind} ${value.name}`;
}

/** The key of a namespaced object, as it stands in resource names and log lines. */
export function keyOf(object: { readonly namespace: string; readonly name: string }): string {
  return `${object.namespace}/${object.name}`;
}
