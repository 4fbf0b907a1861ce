// SPDX-License-Identifier: Apache-2.0
// What proxies computed for handshakes, and how full lanes were.
import type { OperationStatus, ProxyStatus } from '../lib/admin-api.ts';
import { tableOf } from './output.ts';

const head = [
  'NODE',
  'CRYPTO',
  'OPERATION',
  'IN LANES',
  'EACH',
  'ONE BY ONE',
  'EACH',
  'LANES FILLED',
  'CALLS BY LANES FILLED',
];

const eachText = (seconds: number, count: number): string =>
  count === 0 ? '' : `${((1e6 * seconds) / count).toFixed(1)} us`;

// What no handshake has asked for is not worth a line.
function operationRow(name: string, status: OperationStatus): string[][] {
  const { lanes, scalar, laneSeconds, scalarSeconds } = status;
  const calls = lanes.reduce((sum, each) => sum + each, 0);
  const inLanes = lanes.reduce((sum, each, index) => sum + each * (index + 1), 0);
  if (calls + scalar === 0) {
    return [];
  }
  const filled = lanes.flatMap((each, index) => (each === 0 ? [] : [`${index + 1}: ${each}`]));
  return [
    [
      ...[name, String(inLanes), eachText(laneSeconds, inLanes)],
      ...[String(scalar), eachText(scalarSeconds, scalar)],
      ...[calls === 0 ? '' : (inLanes / calls).toFixed(1), filled.join(', ')],
    ],
  ];
}

function operationRows({ node, crypto }: ProxyStatus): string[][] {
  return Object.entries(crypto.operations)
    .flatMap(([name, status]) => operationRow(name, status))
    .map((cells) => [node, crypto.mode, ...cells]);
}

// What never happened is not worth a line.
function besideRows({ node, crypto }: ProxyStatus): string[][] {
  const beside: [string, number][] = [
    ['steps that found no fiber', crypto.inlined],
    ['key shares made before', crypto.keyShares],
  ];
  return beside.filter(([, times]) => times > 0).map(([name, times]) => [node, name, `${times}`]);
}

/** The tables of all proxies: operations that were gathered, and what counts in none of them. */
export function cryptoStatusTables(proxies: readonly ProxyStatus[]): string {
  return [
    tableOf(head, proxies.flatMap(operationRows)),
    tableOf(['NODE', 'OF HANDSHAKES', 'TIMES'], proxies.flatMap(besideRows)),
  ].join('\n');
}
