// SPDX-License-Identifier: Apache-2.0
import { ports } from '../../lib/ports.ts';
import { cgroupIn, nodeOf, type Variant } from './variant.ts';

// As every sidecar has; by default it is half of the machine's processors.
const oneWorker = ['--workers', '1'];

/** The mesh itself: a proxy for each node, pods captured by nftables. */
export const weft: Variant = {
  name: 'weft',
  title:
    'Weft, a proxy a node, captured by nftables, HBONE in mutual TLS 1.3, one worker each, access log on',
  meshed: true,
  carries: 'tcp',
  tlsPort: ports.hbone,
  prepare: async () => undefined,
  start: async (lab, { engine }) => {
    const settings = [...oneWorker, ...engine.flatMap((setting) => ['--engine', setting])];
    await Promise.all(
      lab.plan.nodes.map(async ({ name }) => {
        await lab.kill(`${name}/ztunnel`);
        await lab.restart(`${name}/ztunnel`, (command) => [...command, ...settings]);
      }),
    );
    await Promise.all(lab.plan.nodes.map(({ name }) => lab.ready(name)));
  },
  proxyOf: (lab, end) => cgroupIn(lab, `${nodeOf[end]}/ztunnel`),
};
