// SPDX-License-Identifier: Apache-2.0
// From the control plane's resources to changes of the name table.
import { formatIp } from '../../src/lib/ip.ts';
import type { Update } from '../../src/xds/client.ts';
import {
  type Address,
  HealthPolicy,
  type Service,
  typeUrls,
  Visibility,
  type Workload,
  WorkloadStatus,
} from '../../src/xds/wire.ts';
import type { NameChange } from './names.ts';

function serviceChange(key: string, wire: Service): NameChange {
  // A block of addresses is no address to give out.
  const single = wire.addresses.filter(
    ({ network, address, length }) =>
      network === '' && (length === undefined || length === 8 * address.length),
  );
  return {
    kind: 'service',
    key,
    hostname: wire.hostname.toLowerCase(),
    namespace: wire.namespace,
    addresses: single.map(({ address }) => formatIp(address)),
    isPrivate: wire.visibility === Visibility.NAMESPACE,
    canonical: wire.canonical,
    allEndpoints: wire.loadBalancing?.healthPolicy === HealthPolicy.ALLOW_ALL,
  };
}

function workloadChange(key: string, wire: Workload): NameChange {
  return {
    kind: 'workload',
    key,
    hostname: wire.hostname.toLowerCase(),
    addresses: wire.addresses.map(formatIp),
    services: Object.keys(wire.services),
    healthy: wire.status === WorkloadStatus.HEALTHY,
  };
}

function changeOf(key: string, { type }: Address): NameChange {
  if (type.case === 'service') {
    return serviceChange(key, type.value);
  }
  // Other networks are not reached by address.
  return type.case === 'workload' && type.value.network === ''
    ? workloadChange(key, type.value)
    : { kind: 'gone', key };
}

/**
 * What an update means for names. Resources that were rejected keep the meaning they had; policies
 * have none.
 */
export function nameChanges(update: Update, rejected: ReadonlyMap<string, string>): NameChange[] {
  if (update.type !== typeUrls.address) {
    return [];
  }
  const good = [...update.changed].filter(([key]) => !rejected.has(key));
  const came = new Set([...update.changed.keys(), ...update.broken]);
  const gone = update.removed.filter((key) => !came.has(key));
  return [
    ...gone.map((key): NameChange => ({ kind: 'gone', key })),
    ...good.map(([key, wire]) => changeOf(key, wire)),
  ];
}
