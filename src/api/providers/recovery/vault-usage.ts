/** What a vault holds in numbers, whether a name is free, and which operations there are. */
import { countProtectedItems, findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError, checkFilterFields, equalTo, parseFilter, resourceIdIn } from '#contract'
import { POLICY_TYPE, VAULT_TYPE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { fieldAt } from '../../arm/field-table.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { VAULT_NAME } from './vaults.ts'

/** Azure's, per vault. */
const ITEMS_MAX = 1000
const POLICIES_MAX = 200
const FILTERS = ['type', 'backupManagementType']

type Usage = Readonly<{ value: string; text: string; now: number; limit: number }>

function show({ value, text, now, limit }: Usage) {
  return { unit: 'Count', currentValue: now, limit, name: { value, localizedValue: text } }
}

const itemsIn = ({ host }: ArmCall, vault: ResourceRecord): Promise<number> =>
  countProtectedItems(host.catalog, { vaultKey: vault.key })

async function usages(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const policies = await listResources(call.host.catalog, { type: POLICY_TYPE, parent: vault.id })
  const value = [
    { value: 'ProtectedItemsCount', text: 'Protected items', now: await itemsIn(call, vault), limit: ITEMS_MAX },
    { value: 'BackupPoliciesCount', text: 'Backup policies', now: policies.length, limit: POLICIES_MAX },
    { value: 'RegisteredServersCount', text: 'Registered servers', now: 0, limit: 0 },
  ]
  return ok({ value: value.map(show) })
}

async function summaries(call: ArmCall): Promise<ArmReply> {
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, FILTERS)
  const vault = await findVault(call)
  const now = await itemsIn(call, vault)
  const isContainers = equalTo(terms, 'type')?.toLowerCase() === 'backupprotectioncontainercountsummary'
  const [value, text] = isContainers
    ? ['IaasVMContainer', 'Azure virtual machine containers']
    : ['AzureIaasVM', 'Azure virtual machines']
  return ok({ value: [show({ value, text, now, limit: ITEMS_MAX })] })
}

async function checkName(call: ArmCall): Promise<ArmReply> {
  const { subscriptionId, catalog } = call.host
  const name = fieldAt(call.body, 'name')
  if (typeof name !== 'string')
    throw new ArmError('InvalidParameter', 'The name to be checked is missing.', { target: 'name' })
  if (!VAULT_NAME.test(name))
    return ok({
      nameAvailable: false,
      reason: 'Invalid',
      message: 'A vault is named by 2 to 50 letters, digits and hyphens, beginning with a letter.',
    })
  const id = resourceIdIn(subscriptionId, call.param('group'), VAULT_TYPE, name)
  if ((await findResource(catalog, id)) === undefined) return ok({ nameAvailable: true })
  return ok({ nameAvailable: false, reason: 'AlreadyExists', message: `A vault has the name '${name}'.` })
}

/** `Microsoft.RecoveryServices/vaults/write` as a row of the list. */
function operationOf(action: string) {
  const [provider = '', ...rest] = action.split('/')
  const resource = rest.slice(0, -1).join('/')
  const operation = rest.at(-1) ?? ''
  const display = { provider, resource, operation, description: `${operation} of ${resource}` }
  return { name: action, display, origin: 'user' }
}

/** @param routes of the provider: what is served is what is listed */
export function usageRoutesOf(routes: readonly ArmRoute[]): readonly ArmRoute[] {
  const actions = [...new Set(routes.map(({ action }) => action))].filter((one) =>
    one.startsWith('Microsoft.RecoveryServices/'),
  )
  return [
    { method: 'GET', path: `${VAULT_PATH}/usages`, action: `${VAULT_TYPE}/usages/read`, handle: usages },
    {
      method: 'GET',
      path: `${VAULT_PATH}/replicationUsages`,
      action: `${VAULT_TYPE}/replicationUsages/read`,
      handle: async (call) => {
        await findVault(call)
        return ok({ value: [] })
      },
    },
    {
      method: 'GET',
      path: `${VAULT_PATH}/backupUsageSummaries`,
      action: `${VAULT_TYPE}/backupUsageSummaries/read`,
      handle: summaries,
    },
    {
      method: 'POST',
      path: '/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.RecoveryServices/locations/{location}/checkNameAvailability',
      action: 'Microsoft.RecoveryServices/locations/checkNameAvailability/action',
      handle: checkName,
    },
    {
      method: 'GET',
      path: '/providers/Microsoft.RecoveryServices/operations',
      action: 'Microsoft.RecoveryServices/operations/read',
      access: 'signed-in',
      handle: () => ok({ value: actions.toSorted().map(operationOf) }),
    },
  ]
}
