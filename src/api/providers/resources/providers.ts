/** Resource providers: which namespaces and types there are. All are registered; registering again is as good as done. */
import { listRegions } from '#catalog'
import { ArmError } from '#contract'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'

/** Types of one namespace, in Azure's spelling, and the api-versions that are named; any other is accepted too. */
export type ProviderTypes = Readonly<Record<string, readonly string[]>>

const VERSIONS: Readonly<Record<string, readonly string[]>> = {
  'Microsoft.Compute': ['2026-04-01', '2024-11-01', '2024-07-01', '2023-10-02', '2023-04-02', '2022-11-01'],
  'Microsoft.Network': ['2025-01-01', '2022-01-01', '2015-06-15'],
  'Microsoft.Resources': ['2026-06-01', '2025-04-01', '2024-11-01', '2021-04-01'],
  'Microsoft.Authorization': ['2022-04-01', '2020-04-01-preview', '2018-01-01-preview'],
  'Microsoft.Storage': ['2024-01-01', '2023-01-01', '2016-01-01'],
}

async function view(
  call: ArmCall,
  namespace: string,
  types: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const locations = (await listRegions(call.host.catalog)).map(({ displayName }) => displayName)
  return {
    id: `/subscriptions/${call.host.subscriptionId}/providers/${namespace}`,
    namespace,
    registrationState: 'Registered',
    registrationPolicy: 'RegistrationFree',
    resourceTypes: types.map((resourceType) => ({
      resourceType,
      locations,
      apiVersions: VERSIONS[namespace] ?? ['2024-11-01'],
      defaultApiVersion: VERSIONS[namespace]?.[0] ?? '2024-11-01',
      capabilities: 'None',
    })),
  }
}

export function providerRoutes(providers: ProviderTypes): readonly ArmRoute[] {
  const one = async (call: ArmCall): Promise<ArmReply> => {
    const asked = call.param('namespace').toLowerCase()
    const found = Object.entries(providers).find(([namespace]) => namespace.toLowerCase() === asked)
    if (found === undefined)
      throw new ArmError('NotFound', `Holdfast does not provide the namespace '${call.param('namespace')}'.`)
    return ok(await view(call, ...found))
  }
  const all = async (call: ArmCall): Promise<ArmReply> =>
    ok({ value: await Promise.all(Object.entries(providers).map((entry) => view(call, ...entry))) })
  const path = '/subscriptions/{subscription}/providers'
  const action = 'Microsoft.Resources/subscriptions/providers/read'
  return [
    { method: 'GET', path, action, access: 'signed-in', handle: all },
    { method: 'GET', path: '/providers', action, access: 'signed-in', handle: all },
    { method: 'GET', path: `${path}/{namespace}`, action, access: 'signed-in', handle: one },
    { method: 'GET', path: '/providers/{namespace}', action, access: 'signed-in', handle: one },
    {
      method: 'POST',
      path: `${path}/{namespace}/register`,
      action: 'Microsoft.Resources/subscriptions/providers/register/action',
      handle: one,
    },
  ]
}

/** Namespaces and types that the routes serve: the last pattern segments before a name. */
export function providersOf(routes: readonly ArmRoute[]): ProviderTypes {
  const types = new Map<string, Set<string>>()
  for (const { path, method } of routes) {
    const [, namespace, ...rest] = /^.*\/providers\/([^/{}]+)\/(.*)$/.exec(path) ?? []
    if (namespace === undefined || method !== 'GET') continue
    const type = (rest[0] ?? '').split('/').filter((segment) => !segment.startsWith('{'))
    const names = types.get(namespace) ?? new Set<string>()
    if (type[0] !== undefined && type[0] !== 'locations') names.add(type[0])
    types.set(namespace, names)
  }
  return Object.fromEntries(Array.from(types, ([namespace, names]) => [namespace, [...names].sort()]))
}
