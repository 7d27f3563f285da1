/** Tenants, subscriptions and locations. One server has one tenant and one subscription of its own. */
import { listRegions } from '#catalog'
import { ArmError } from '#contract'
import { type ArmCall, type ArmRoute, ok } from '../../arm/call.ts'

type View = Readonly<Record<string, unknown>>

function subscriptionView({ host }: ArmCall): View {
  return {
    id: `/subscriptions/${host.subscriptionId}`,
    subscriptionId: host.subscriptionId,
    tenantId: host.tenantId,
    displayName: host.subscriptionName,
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

async function locationViews({ host }: ArmCall): Promise<View[]> {
  const prefix = `/subscriptions/${host.subscriptionId}/locations`
  return (await listRegions(host.catalog)).map(({ name, displayName, pair, geography }) => ({
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
    handle: (call) => {
      const value = call.caller.grants.length === 0 ? [] : [subscriptionView(call)]
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
