/**
 * Tenants, subscriptions and locations. One server has one tenant and one subscription of its own; those of linked servers are
 * listed beside it, from what is on record: a server that is lost takes nothing from these lists.
 */
import { type LinkedRegion, listRegions } from '#catalog'
import { ArmError } from '#contract'
import { mayEnter } from '#domain'
import { type ArmCall, type ArmRoute, ok } from '../../arm/call.ts'
import { type LinkedServer, regionNames } from '../../arm/linked-servers.ts'

type View = Readonly<Record<string, unknown>>

type Named = Readonly<{ subscriptionId: string; subscriptionName: string }>

function subscriptionView({ host }: ArmCall, { subscriptionId, subscriptionName }: Named = host): View {
  return {
    id: `/subscriptions/${subscriptionId}`,
    subscriptionId,
    tenantId: host.tenantId,
    displayName: subscriptionName,
    state: 'Enabled',
    authorizationSource: 'RoleBased',
    subscriptionPolicies: {
      locationPlacementId: 'Public_2014-09-01',
      quotaId: 'PayAsYouGo_2014-09-01',
      spendingLimit: 'Off',
    },
    managedByTenants: [],
  }
}

function linkedView(call: ArmCall, { subscription, regions }: LinkedServer): View {
  const subscriptionName = `${call.host.subscriptionName} in ${regionNames(regions)}`
  return subscriptionView(call, { subscriptionId: subscription, subscriptionName })
}

/** A caller of a linked server sees there what is there. */
async function subscriptionViews(call: ArmCall): Promise<View[]> {
  const { grants } = call.caller
  if (grants.length === 0) return []
  const linked = (await call.host.links.list()).filter(({ subscription }) =>
    mayEnter(grants, `/subscriptions/${subscription}`),
  )
  return [subscriptionView(call), ...linked.map((one) => linkedView(call, one))]
}

/** Of this server, then of linked ones: disks and versions are made in those of the subscription's own server. */
async function locationViews({ host }: ArmCall): Promise<View[]> {
  const prefix = `/subscriptions/${host.subscriptionId}/locations`
  const linked = (await host.links.list()).flatMap(({ regions }) => regions)
  const regions: LinkedRegion[] = [...(await listRegions(host.catalog)), ...linked]
  return regions.map(({ name, displayName, pair, geography }) => ({
    id: `${prefix}/${name}`,
    name,
    type: 'Region',
    displayName,
    regionalDisplayName: `(${geography}) ${displayName}`,
    metadata: {
      regionType: 'Physical',
      regionCategory: 'Recommended',
      geography,
      geographyGroup: geography,
      longitude: '0',
      latitude: '0',
      physicalLocation: displayName,
      pairedRegion: pair === undefined ? [] : [{ name: pair, id: `${prefix}/${pair}` }],
    },
  }))
}

function tenantView({ host }: ArmCall): View {
  return {
    id: `/tenants/${host.tenantId}`,
    tenantId: host.tenantId,
    displayName: host.subscriptionName,
    tenantCategory: 'Home',
    tenantType: 'AAD',
    countryCode: 'US',
    domains: [],
  }
}

/** A subscription that the caller has no role in is not there, as on Azure. */
function checkEntered(call: ArmCall): void {
  if (call.param('subscription').toLowerCase() === call.host.subscriptionId) return
  throw new ArmError('SubscriptionNotFound', `The subscription '${call.param('subscription')}' could not be found.`)
}

export const subscriptionRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: '/tenants',
    action: 'Microsoft.Resources/tenants/read',
    access: 'signed-in',
    handle: (call) => ok({ value: [tenantView(call)] }),
  },
  {
    method: 'GET',
    path: '/subscriptions',
    action: 'Microsoft.Resources/subscriptions/read',
    access: 'signed-in',
    handle: async (call) => {
      const value = await subscriptionViews(call)
      return ok({ value, count: { type: 'Total', value: value.length } })
    },
  },
  {
    method: 'GET',
    path: '/subscriptions/{subscription}',
    action: 'Microsoft.Resources/subscriptions/read',
    access: 'entered',
    handle: (call) => {
      checkEntered(call)
      return ok(subscriptionView(call))
    },
  },
  {
    method: 'GET',
    path: '/subscriptions/{subscription}/locations',
    action: 'Microsoft.Resources/subscriptions/locations/read',
    access: 'entered',
    handle: async (call) => ok({ value: await locationViews(call) }),
  },
]
