// SPDX-License-Identifier: Apache-2.0
// From what a person says of a connection to what the engine is asked, and back.
import type { Engine } from '../native/index.ts';
import type { ExplainAnswer } from '../src/lib/admin-api.ts';
import { uncarried } from '../src/lib/admin-api.ts';
import { MeshError } from '../src/lib/error.ts';
import { formatIp, parseIp } from '../src/lib/ip.ts';
import type { TableService, TableWorkload } from './translate.ts';

/** What is known, to find things by name. */
export interface Known {
  workload(uid: string): TableWorkload | undefined;
  workloads(): Iterable<TableWorkload>;
  services(): Iterable<TableService>;
}

/** What explains: the engine. */
export type Explainer = Pick<Engine, 'explain'>;

/** What was asked, as text from a query. */
export interface ExplainText {
  readonly source: string;
  readonly destination: string;
  readonly port: string;
}

function firstAddress(workload: TableWorkload): string | undefined {
  const [address] = workload.addresses ?? [];
  return address === undefined ? undefined : formatIp(address);
}

function hasAddress(workload: TableWorkload, text: string): boolean {
  const wanted = parseIp(text);
  return (
    wanted !== undefined &&
    (workload.addresses ?? []).some((address) => Buffer.compare(address, wanted) === 0)
  );
}

function one<T>(found: readonly T[], what: string, text: string, show: (item: T) => string): T {
  const [first] = found;
  if (first === undefined) {
    throw new MeshError('invalid', `no ${what} ${text} is known to this proxy`);
  }
  if (found.length > 1) {
    const names = found.slice(0, 5).map(show).join(', ');
    throw new MeshError('invalid', `${text} could be ${names}; say NAMESPACE/NAME`);
  }
  return first;
}

const nameOf = ({ namespace, name }: TableWorkload): string => `${namespace}/${name}`;

/** The workload that `text` names: its uid, NAMESPACE/NAME, NAME, or an address. */
export function findWorkload(known: Known, text: string): TableWorkload {
  const matches = [...known.workloads()].filter((workload) => {
    const names = [workload.uid, nameOf(workload), workload.name];
    return names.includes(text) || hasAddress(workload, text);
  });
  return one(matches, 'workload', text, nameOf);
}

function serviceAddress({ addresses }: TableService): string | undefined {
  const single = (addresses ?? []).find(({ range }) => {
    return range?.address !== undefined && range.length === 8 * range.address.length;
  });
  return single?.range?.address === undefined ? undefined : formatIp(single.range.address);
}

// A headless service is its endpoints; the first stands for all.
function addressOfService(known: Known, service: TableService): string {
  const own = serviceAddress(service);
  const endpoint = [...known.workloads()].find(({ services }) =>
    (services ?? []).some((binding) => binding.service === service.key),
  );
  const address = own ?? (endpoint === undefined ? undefined : firstAddress(endpoint));
  if (address === undefined) {
    throw new MeshError('invalid', `${service.key} has neither an address nor an endpoint`);
  }
  return address;
}

function namesOfService({ name, namespace, hostname, key }: TableService): string[] {
  return [key, hostname ?? '', `${name}.${namespace}`, `${name}.${namespace}.svc`, name ?? ''];
}

function findDestination(known: Known, text: string): TableWorkload {
  try {
    return findWorkload(known, text);
  } catch (error) {
    const { message } = MeshError.from(error);
    const how = 'what is not of the mesh is named by its address';
    throw new MeshError('invalid', message.includes('NAMESPACE') ? message : `${message}; ${how}`);
  }
}

/**
 * The address that `text` stands for: itself, a service by hostname, NAME.NAMESPACE or NAME in the
 * source's namespace, or a workload. Throws MeshError `invalid` when it is none of them.
 */
export function findAddress(known: Known, text: string, namespace: string): string {
  if (parseIp(text) !== undefined) {
    return text;
  }
  const services = [...known.services()].filter((each) => namesOfService(each).includes(text));
  const near = services.filter((each) => each.namespace === namespace);
  const found = near.length > 0 ? near : services;
  if (found.length > 0) {
    return addressOfService(
      known,
      one(found, 'service', text, ({ key }) => key),
    );
  }
  const workload = findDestination(known, text);
  const address = firstAddress(workload);
  if (address === undefined) {
    throw new MeshError('invalid', `${nameOf(workload)} has no address`);
  }
  return address;
}

const dnsNote =
  'port 53 of every address is answered by the proxy as DNS; the path is that of other ports';

function notesOf(source: TableWorkload, captured: boolean, port: number): string[] {
  const [udp = '', host = ''] = uncarried;
  return [
    ...(captured && port === 53 ? [dnsNote] : []),
    ...(source.hostNetwork === true ? [host] : []),
    ...(captured || source.hostNetwork === true ? [] : [`${nameOf(source)} is not in the mesh`]),
    udp,
  ];
}

/** Explains a connection by the engine's own decisions. Throws MeshError `invalid`. */
export function explain(
  explainer: Explainer,
  known: Known,
  node: string,
  { source: from, destination: to, port: portText }: ExplainText,
): ExplainAnswer {
  const port = Number(portText);
  if (!/^\d{1,5}$/.test(portText) || port < 1 || port > 65_535) {
    throw new MeshError('invalid', `${portText} is not a port`);
  }
  const source = findWorkload(known, from);
  const address = findAddress(known, to, source.namespace);
  const said = explainer.explain({ source: source.uid, destination: address, port });
  const { path, why, captured, sourceIdentity, service = '', endpointsTotal } = said;
  const endpoints = said.endpoints.map((endpoint) => {
    const at = endpoint.workload === undefined ? undefined : known.workload(endpoint.workload);
    return at === undefined ? endpoint : { ...endpoint, node: at.node };
  });
  return {
    ...{ node, path, why, captured, sourceIdentity, service, endpoints, endpointsTotal },
    source: { workload: nameOf(source), node: source.node },
    destination: { address, port },
    notes: notesOf(source, captured, port),
  };
}
