// SPDX-License-Identifier: Apache-2.0
// What a change costs and leads to: a snapshot kept up to date equals one built from nothing.
import t from 'tap';
import { idOf, type MeshChange, type MeshObject } from '../../../src/mesh/objects.ts';
import { meshDefaults, type Snapshot, type SnapshotChange } from '../../../src/mesh/snapshot.ts';
import { buildSnapshot, SnapshotBuilder } from '../../../src/mesh/snapshot-builder.ts';
import {
  endpoint,
  ip,
  type Listed,
  meshOf,
  peerAuthentication,
  pod,
  policy,
  service,
  serviceEntry,
  slice,
  workloadEntry,
} from '../../support/mesh-objects.ts';
import { randomOf } from '../../support/mutate.ts';

const web = 'demo/web.demo.svc.cluster.local';
const strict = 'istio-system/istio_converted_static_strict';

const build = (listed: Listed) => buildSnapshot(meshOf(listed), meshDefaults);
const sorted = <T>(map: ReadonlyMap<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

/** A builder that has the mesh, and a way to change objects of it. */
function builderOf(listed: Listed) {
  const builder = new SnapshotBuilder(meshDefaults);
  builder.apply({ removed: [], added: meshOf(listed) });
  const change = (before: Listed, after: Listed) => {
    const only = (given: Listed) => meshOf({ Namespace: [], Node: [], ...given });
    return builder.apply({ removed: only(before), added: only(after) });
  };
  return { builder, change };
}

t.test('a change makes nothing anew but what it affects', async (t) => {
  const x = pod();
  const other = pod({ name: 'other', labels: { app: 'other' }, addresses: [ip('10.0.0.2')] });
  const { change } = builderOf({ Pod: [x, other], Service: [service()] });
  const uids = ({ workloads }: ReturnType<typeof change>) => [...workloads.keys()];
  t.same(uids(change({ Pod: [x] }, { Pod: [{ ...x, ready: false }] })), ['Kubernetes//Pod/demo/x']);
  const named = service({ ports: [{ name: 'http', port: 80, target: 1 }] });
  t.same(uids(change({ Service: [service()] }, { Service: [named] })), ['Kubernetes//Pod/demo/x']);
  t.same(uids(change({}, { AuthorizationPolicy: [policy()] })), ['Kubernetes//Pod/demo/x']);
  const deny = policy({ action: 'deny' });
  const rewritten = change({ AuthorizationPolicy: [policy()] }, { AuthorizationPolicy: [deny] });
  t.same(uids(rewritten), [], 'what a policy says is not in the workloads that name it');
  t.same([...rewritten.policies.keys()], ['demo/p']);
  const labels = { 'istio.io/dataplane-mode': 'ambient' };
  const annotated = change(
    { Namespace: [{ name: 'demo', labels }] },
    { Namespace: [{ name: 'demo', labels: { ...labels, team: 'a' } }] },
  );
  t.same(uids(annotated), []);
});

t.test('peer authentication binds the strict policy to the workloads it is for', async (t) => {
  const { builder, change } = builderOf({ Pod: [pod()] });
  const names = () => builder.snapshot.workloads.get('Kubernetes//Pod/demo/x')?.policies;
  t.ok(builder.snapshot.policies.has(strict), 'which is there from the start');
  t.same(names(), []);
  change({}, { PeerAuthentication: [peerAuthentication()] });
  t.same(names(), [strict]);
  const open = peerAuthentication({ mode: 'permissive' });
  change({ PeerAuthentication: [peerAuthentication()] }, { PeerAuthentication: [open] });
  t.same(names(), []);
  const mesh = peerAuthentication({ namespace: 'istio-system' });
  change({ PeerAuthentication: [open] }, { PeerAuthentication: [mesh] });
  t.same(names(), [strict]);
  const ports = peerAuthentication({
    name: 'web',
    selector: { app: 'web' },
    ports: new Map([[80, 'permissive']]),
  });
  change({}, { PeerAuthentication: [ports] });
  t.same(names(), ['demo/converted_peer_authentication_web']);
  t.ok(builder.snapshot.policies.has('demo/converted_peer_authentication_web'));
  change({ PeerAuthentication: [ports] }, {});
  t.notOk(builder.snapshot.policies.has('demo/converted_peer_authentication_web'));
  t.same(names(), [strict]);
});

t.test('a pod has a name in the headless service that it says it belongs to', async (t) => {
  const named = pod({ hostname: 'web-0', subdomain: 'web' });
  const nameIn = (...services: ReturnType<typeof service>[]) =>
    build({ Pod: [named], Service: services }).workloads.get('Kubernetes//Pod/demo/x')?.hostname;
  t.equal(nameIn(service()), 'web-0.web.demo.svc.cluster.local');
  t.equal(nameIn(), '', 'no such service');
  t.equal(nameIn(service({ addresses: [ip('10.9.0.1')] })), '', 'not headless');
  t.equal(nameIn(service({ selector: { app: 'no' } })), '', 'not an endpoint of it');
});

t.test('endpoints written by hand are workloads, those of pods are not', async (t) => {
  const manual = service({ selector: undefined, ports: [{ name: 'http', port: 80, target: 80 }] });
  const endpoints = [
    { addresses: [ip('192.0.2.9')], ready: false, pod: undefined, node: 'a', zone: 'z' },
    { addresses: [ip('10.0.0.1')], ready: true, pod: undefined, node: '', zone: '' },
    { addresses: [ip('10.0.0.2')], ready: true, pod: 'y', node: '', zone: '' },
    { addresses: [ip('10.0.0.3')], ready: false, pod: 'z', node: '', zone: '' },
  ];
  const others = ['y', 'z'].map((name, index) =>
    pod({ name, labels: {}, addresses: [ip(`10.0.0.${index + 2}`)] }),
  );
  const { workloads } = build({
    Pod: [pod(), ...others],
    Service: [manual],
    EndpointSlice: [slice({ endpoints })],
  });
  const ports = (name: string) => workloads.get(`Kubernetes//Pod/demo/${name}`)?.services.get(web);
  t.same([...workloads.keys()].sort(), [
    'Kubernetes//Pod/demo/x',
    'Kubernetes//Pod/demo/y',
    'Kubernetes//Pod/demo/z',
    'Kubernetes/discovery.k8s.io/EndpointSlice/demo/web-1/192.0.2.9',
  ]);
  t.match(workloads.get('Kubernetes/discovery.k8s.io/EndpointSlice/demo/web-1/192.0.2.9'), {
    healthy: false,
    enrolled: false,
    locality: { region: 'r', zone: 'z' },
    services: new Map([[web, [{ port: 80, target: 9090 }]]]),
  });
  t.same(ports('x'), [{ port: 80, target: 9090 }], 'known by its address');
  t.same(ports('y'), [{ port: 80, target: 9090 }], 'known by its name');
  t.equal(ports('z'), undefined, 'not ready');
});

t.test('a slice of a service that selects its pods says nothing new of them', async (t) => {
  const gone = [{ addresses: [ip('10.0.0.2')], ready: true, pod: 'y', node: '', zone: '' }];
  const { workloads } = build({
    Pod: [pod({ name: 'y', labels: {} })],
    Service: [service()],
    EndpointSlice: [slice({ endpoints: gone })],
  });
  t.equal(workloads.size, 1);
  t.equal(workloads.get('Kubernetes//Pod/demo/y')?.services.size, 0);
});

t.test(
  'a service entry gives a service for each host and a workload for each endpoint',
  async (t) => {
    const hosts = ['a.example.com', 'b.example.com'];
    const tunnel = { 'networking.istio.io/tunnel': 'http' };
    const endpoints = [
      endpoint({ ports: new Map([['https', 8443]]), locality: 'r/z' }),
      endpoint({ address: ip('192.0.2.2'), labels: tunnel }),
    ];
    const { services, workloads } = build({ ServiceEntry: [serviceEntry({ hosts, endpoints })] });
    t.same([...services.keys()], ['demo/a.example.com', 'demo/b.example.com']);
    const prefix = 'Kubernetes/networking.istio.io/ServiceEntry/demo/outside';
    t.match(workloads.get(`${prefix}/192.0.2.1`), {
      enrolled: false,
      locality: { region: 'r', zone: 'z', subzone: '' },
      services: new Map(
        hosts.map((host) => [`demo/${host}`, [{ port: 443, target: 8443 }]] as const),
      ),
    });
    t.match(workloads.get(`${prefix}/192.0.2.2`), { enrolled: true });
  },
);

t.test('a name that is to be resolved is its own endpoint', async (t) => {
  const entry = serviceEntry({ hosts: ['a.example.com', 'b.example.com'], resolution: 'dns' });
  const { workloads } = build({ ServiceEntry: [entry] });
  t.same(
    [...workloads.values()].map(({ hostname, services }) => [hostname, ...services.keys()]),
    [
      ['a.example.com', 'demo/a.example.com'],
      ['b.example.com', 'demo/b.example.com'],
    ],
  );
  t.equal(build({ ServiceEntry: [serviceEntry({ resolution: 'none' })] }).workloads.size, 0);
});

t.test('services of both kinds select pods and workload entries', async (t) => {
  const { workloads } = build({
    Pod: [pod()],
    Service: [service()],
    ServiceEntry: [serviceEntry({ selector: { app: 'web' } })],
    WorkloadEntry: [workloadEntry({ endpoint: endpoint({ ports: new Map([['http', 8000]]) }) })],
    AuthorizationPolicy: [policy()],
  });
  const vm = workloads.get('Kubernetes/networking.istio.io/WorkloadEntry/demo/vm');
  t.same(
    [...(vm?.services ?? [])],
    [
      ['demo/api.example.com', [{ port: 443, target: 443 }]],
      [web, [{ port: 80, target: 8000 }]],
    ],
  );
  t.same(vm?.policies, ['demo/p']);
  t.same(workloads.get('Kubernetes//Pod/demo/x')?.services.get('demo/api.example.com'), [
    { port: 443, target: 443 },
  ]);
});

// Small choices, so that objects meet each other often.
class RandomMesh {
  readonly #random: () => number;
  #address = 0;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  pick<T>(first: T, ...rest: readonly T[]): T {
    return [first, ...rest][this.below(rest.length + 1)] ?? first;
  }

  #labels() {
    return this.pick<Record<string, string>>(
      {},
      { app: 'web' },
      { app: 'db' },
      { app: 'web', 'istio.io/dataplane-mode': this.pick('ambient', 'none') },
    );
  }

  #selector() {
    return this.pick<Record<string, string> | undefined>(
      undefined,
      {},
      { app: 'web' },
      { app: 'db' },
    );
  }

  #ip() {
    // No two pods have the same address: the registry sees to that.
    this.#address += 1;
    return ip(`10.0.${this.#address >> 8}.${this.#address & 255}`);
  }

  object(): MeshObject {
    const namespace = this.pick('demo', 'istio-system', 'far');
    const name = this.pick('web', 'db', 'c');
    const at = { namespace, name };
    const selector = this.#selector();
    const labels = this.#labels();
    const node = this.pick('a', 'b');
    const makers: (() => MeshObject)[] = [
      () => ({ kind: 'Namespace', value: { name: namespace, labels } }),
      () => ({
        kind: 'Node',
        value: {
          name: node,
          labels: this.pick<Record<string, string>>({}, { 'topology.kubernetes.io/zone': 'z' }),
        },
      }),
      ...Array<() => MeshObject>(4).fill(() => ({
        kind: 'Pod',
        value: pod({
          ...{ ...at, name: this.pick('p', 'q', 'r', 's', 't'), labels, node },
          addresses: this.pick([], [this.#ip()], [this.#ip(), this.#ip()]),
          hostNetwork: this.below(5) === 0,
          finished: this.below(5) === 0,
          ready: this.below(2) === 0,
          hostname: this.pick('', 'h'),
          subdomain: this.pick('', 'web'),
        }),
      })),
      () => ({
        kind: 'Service',
        value: service({
          ...{ ...at, selector },
          addresses: this.pick([], [this.#ip()]),
          allowNotReady: this.below(2) === 0,
          ports: [{ name: 'http', port: 80, target: this.pick<number | string>('http', 80) }],
        }),
      }),
      () => ({
        kind: 'EndpointSlice',
        value: slice({
          ...at,
          service: this.pick('web', 'db'),
          endpoints: Array.from({ length: this.below(4) }, () => ({
            addresses: [ip(`10.0.${this.below(2)}.${this.below(256)}`)],
            ready: this.below(3) > 0,
            pod: this.pick(undefined, 'p', 'q'),
            node: this.pick('', 'a'),
            zone: '',
          })),
        }),
      }),
      () => ({
        kind: 'ServiceEntry',
        value: serviceEntry({
          ...{ ...at, selector },
          hosts: [`${name}.example.com`, ...this.pick([], [`more-${name}.example.com`])],
          resolution: this.pick('none', 'static', 'dns'),
          endpoints: this.pick([], [endpoint(), endpoint({ address: ip('192.0.2.7') })]),
        }),
      }),
      () => ({
        kind: 'WorkloadEntry',
        value: workloadEntry({ ...at, endpoint: endpoint({ labels }) }),
      }),
      () => ({ kind: 'AuthorizationPolicy', value: policy({ ...at, selector }) }),
      () => ({
        kind: 'PeerAuthentication',
        value: peerAuthentication({
          ...{ ...at, selector },
          mode: this.pick('unset', 'strict', 'permissive', 'disable'),
          ports: new Map(
            this.pick<[number, 'strict' | 'permissive'][]>(
              [],
              [[80, 'strict']],
              [[80, 'permissive']],
            ),
          ),
        }),
      }),
    ];
    return (makers[this.below(makers.length)] ?? makers[0])?.() as MeshObject;
  }
}

/** One edit of up to five objects: new ones, changed ones, and ones that go. */
function edit(random: RandomMesh, objects: Map<string, MeshObject>): MeshChange {
  const removed: MeshObject[] = [];
  const added = new Map<string, MeshObject>();
  for (let left = 1 + random.below(5); left > 0; left -= 1) {
    const object = random.object();
    const id = idOf(object);
    const before = objects.get(id);
    if (added.has(id) || removed.some((gone) => idOf(gone) === id)) {
      continue;
    }
    if (before !== undefined) {
      removed.push(before);
      objects.delete(id);
    }
    if (before === undefined || random.below(3) > 0) {
      added.set(id, object);
      objects.set(id, object);
    }
  }
  return { removed, added: [...added.values()] };
}

function contentOf({ workloads, services, policies, places }: Snapshot) {
  const nodes = ['a', 'b'].flatMap((node) =>
    ['demo', 'far'].map((namespace) => places(node, namespace, 'web')),
  );
  return [sorted(workloads), sorted(services), sorted(policies), nodes];
}

/** What a reader of the changes alone would have. */
class Follower {
  readonly workloads = new Map();
  readonly services = new Map();
  readonly policies = new Map();

  take(change: SnapshotChange): void {
    for (const part of ['workloads', 'services', 'policies'] as const) {
      for (const [key, value] of change[part]) {
        if (value === undefined) {
          this[part].delete(key);
        } else {
          this[part].set(key, value);
        }
      }
    }
  }
}

t.test('after any edits the snapshot is the one that the objects give', async (t) => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = new RandomMesh(seed);
    const objects = new Map<string, MeshObject>();
    const builder = new SnapshotBuilder(meshDefaults);
    const follower = new Follower();
    for (let turn = 0; turn < 25; turn += 1) {
      follower.take(builder.apply(edit(random, objects)));
    }
    const fresh = contentOf(buildSnapshot([...objects.values()], meshDefaults));
    const { snapshot } = builder;
    t.strictSame(contentOf(snapshot), fresh, `seed ${seed}`);
    const { workloads, services, policies } = follower;
    const followed = { workloads, services, policies, places: snapshot.places };
    t.strictSame(contentOf(followed), fresh, `the changes of seed ${seed}`);
  }
});
