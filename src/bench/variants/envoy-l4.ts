// SPDX-License-Identifier: Apache-2.0
import { envoySidecars } from '../sidecars/envoy.ts';
import type { Variant } from './variant.ts';

/** Envoy as sidecars that carry bytes. */
export const envoyL4: Variant = envoySidecars('envoy-l4', 'tcp');
