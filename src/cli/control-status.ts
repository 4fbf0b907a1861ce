// SPDX-License-Identifier: Apache-2.0
// How far each node is with what the control plane told it.
import { askControl } from '../control/command-socket.ts';
import { tableOf } from './output.ts';

/** The answer of GET /xds on the control plane's command socket, as far as it is shown. */
export interface ControlStatus {
  readonly streams: readonly {
    readonly caller: { readonly node: string };
    readonly subscriptions: readonly {
      readonly type: string;
      readonly acked?: number;
      readonly newest: number;
      readonly nacks: number;
      readonly complaint?: { readonly message: string };
    }[];
  }[];
}

/** Asks the control plane that has `folder` as its state folder. Rejects with MeshError. */
export async function controlStatus(folder: string): Promise<ControlStatus> {
  return (await askControl(folder, 'GET', '/xds')) as ControlStatus;
}

/** A row for each node and type of resource. */
export function controlTable({ streams }: ControlStatus): string {
  const rows = streams.flatMap(({ caller, subscriptions }) =>
    subscriptions.map(({ type, acked, newest, nacks, complaint }) => {
      const state = acked === newest ? 'newest' : `${newest - (acked ?? 0)} changes behind`;
      const short = type.slice(type.lastIndexOf('.') + 1);
      return [caller.node, short, state, String(nacks), complaint?.message ?? ''];
    }),
  );
  return tableOf(['NODE', 'TYPE', 'HAS', 'REFUSALS', 'LAST REFUSAL'], rows);
}
