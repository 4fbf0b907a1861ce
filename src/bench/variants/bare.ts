// SPDX-License-Identifier: Apache-2.0
import type { Variant } from './variant.ts';

/** The link itself. */
export const bare: Variant = {
  name: 'bare',
  title: 'no proxy, nothing encrypted',
  meshed: false,
  carries: 'tcp',
  prepare: async () => undefined,
  start: async () => undefined,
  proxyOf: () => undefined,
};
