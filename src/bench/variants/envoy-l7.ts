// SPDX-License-Identifier: Apache-2.0
import { envoySidecars } from '../sidecars/envoy.ts';
import type { Variant } from './variant.ts';

/** Envoy as sidecars that read HTTP at both ends, as Istio's do. */
export const envoyL7: Variant = envoySidecars('envoy-l7', 'http');
