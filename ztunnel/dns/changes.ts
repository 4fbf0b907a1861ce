// SPDX-License-Identifier: Apache-2.0
// From what the proxy holds of the control plane's state to changes of the name table.
import { Visibility } from '../../native/gen/tables_pb.js';
import { formatIp } from '../../src/lib/ip.ts';
import type { Update } from '../../src/xds/client.ts';
import { typeUrls } from '../../src/xds/wire.ts';
import type { TableService, TableWorkload } from '../translate.ts';
import type { NameChange } from './names.ts';

/** What is in force. */
export interface InForce {
  workload(uid: string): TableWorkload | undefined;
  service(key: string): TableService | undefined;
  workloads(): Iterable<TableWorkload>;
  services(): Iterable<TableService>;
}

function serviceChange(service: TableService): NameChange {
  const { key, hostname = '', namespace = '', canonical = false } = service;
  // A block of addresses is no address to give out, and other networks are not reached by one.
  const single = (service.addresses ?? []).flatMap(({ network, range }) => {
    const { address, length } = range ?? {};
    const usable = address !== undefined && length === 8 * address.length;
    return usable && (network ?? '') === '' ? [formatIp(address)] : [];
  });
  return {
    ...{ kind: 'service', key, hostname: hostname.toLowerCase(), namespace, canonical },
    addresses: single,
    isPrivate: service.visibility === Visibility.NAMESPACE,
    allEndpoints: service.loadBalancing?.allowUnhealthy === true,
  };
}

function workloadChange(workload: TableWorkload): NameChange {
  const { uid: key, hostname = '', network = '', healthy = false } = workload;
  if (network !== '') {
    return { kind: 'gone', key };
  }
  const services = (workload.services ?? []).map(({ service = '' }) => service);
  const addresses = (workload.addresses ?? []).map(formatIp);
  const name = hostname.toLowerCase();
  return { kind: 'workload', key, hostname: name, addresses, services, healthy };
}

function changeOf(key: string, inForce: InForce): NameChange {
  const service = inForce.service(key);
  if (service !== undefined) {
    return serviceChange(service);
  }
  const workload = inForce.workload(key);
  return workload === undefined ? { kind: 'gone', key } : workloadChange(workload);
}

/** What an update that was applied means for names; policies mean nothing. */
export function nameChanges(update: Update, inForce: InForce): NameChange[] {
  if (update.type !== typeUrls.address) {
    return [];
  }
  const keys = new Set([...update.removed, ...update.changed.keys()]);
  return [...keys].map((key) => changeOf(key, inForce));
}

/** Every name there is. */
export function allNames(inForce: InForce): NameChange[] {
  return [
    ...Array.from(inForce.services(), serviceChange),
    ...Array.from(inForce.workloads(), workloadChange),
  ];
}
