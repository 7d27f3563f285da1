/**
 * Who needs what of networks: nothing that is in use is removed, and the job that removes what is not. Codes are Azure's, so
 * that the API and the deletion of a group say the same.
 */
import {
  type CatalogTransaction,
  type ChangeSource,
  deleteResource,
  findResource,
  type Catalog,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import {
  CARD_TYPE,
  listCards,
  listSubnets,
  NETWORK_TYPE,
  networkOfSubnet,
  PUBLIC_ADDRESS_TYPE,
  readCard,
  SECURITY_GROUP_TYPE,
  SUBNET_TYPE,
} from './network-records.ts'

export const DELETE_NETWORK_RESOURCE_JOB = 'delete-network-resource'

export type NetworkUse = Readonly<{
  code:
    | 'InUseSubnetCannotBeDeleted'
    | 'NicInUse'
    | 'PublicIPAddressCannotBeDeleted'
    | 'InUseNetworkSecurityGroupCannotBeDeleted'
  message: string
}>

type Reader = Catalog | CatalogTransaction

async function subnetUse(from: Reader, isIn: (subnet: string) => boolean): Promise<NetworkUse | undefined> {
  const card = (await listCards(from)).find(({ subnet }) => isIn(subnet))
  if (card === undefined) return undefined
  const message = `Subnet ${card.subnet.slice(card.subnet.lastIndexOf('/') + 1)} is in use by ${card.configuration} and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet.`
  return { code: 'InUseSubnetCannotBeDeleted', message }
}

function cardUse(record: ResourceRecord): NetworkUse | undefined {
  const card = readCard(record)
  const machine = card?.machine ?? (card?.isPlugged === true ? 'a machine that is being started' : undefined)
  if (machine === undefined) return undefined
  const message = `Network Interface ${record.id} is used by existing resource ${machine}. In order to delete the network interface, it must be dissociated from the resource.`
  return { code: 'NicInUse', message }
}

async function addressUse(from: Reader, record: ResourceRecord): Promise<NetworkUse | undefined> {
  const card = (await listCards(from)).find(({ publicAddress }) => publicAddress?.toLowerCase() === record.key)
  if (card === undefined) return undefined
  const message = `Public IP address ${record.id} can not be deleted since it is still allocated to resource ${card.configuration}.`
  return { code: 'PublicIPAddressCannotBeDeleted', message }
}

async function groupUse(from: Reader, record: ResourceRecord): Promise<NetworkUse | undefined> {
  const users = [...(await listCards(from)), ...(await listSubnets(from))]
    .filter(({ securityGroup }) => securityGroup?.toLowerCase() === record.key)
    .map(({ id }) => id)
  if (users.length === 0) return undefined
  const message = `Network security group ${record.id} cannot be deleted because it is in use by the following resources: ${users.join(', ')}.`
  return { code: 'InUseNetworkSecurityGroupCannotBeDeleted', message }
}

/** Why the resource cannot be deleted now; undefined when it can. */
export async function whyInUse(from: Reader, record: ResourceRecord): Promise<NetworkUse | undefined> {
  switch (record.type.toLowerCase()) {
    case NETWORK_TYPE.toLowerCase():
      return subnetUse(from, (subnet) => networkOfSubnet(subnet) === record.key)
    case SUBNET_TYPE.toLowerCase():
      return subnetUse(from, (subnet) => subnet === record.key)
    case CARD_TYPE.toLowerCase():
      return cardUse(record)
    case PUBLIC_ADDRESS_TYPE.toLowerCase():
      return addressUse(from, record)
    case SECURITY_GROUP_TYPE.toLowerCase():
      return groupUse(from, record)
    default:
      return undefined
  }
}

/** Removes the record; a card lets go of the ports of its public address. The caller has asked `whyInUse` in `trx`. */
export async function removeNetworkResource(
  trx: CatalogTransaction,
  record: ResourceRecord,
  source: ChangeSource,
): Promise<void> {
  const address = record.type === CARD_TYPE ? readCard(record)?.publicAddress : undefined
  if (address !== undefined) await freeForwards(trx, address, source)
  await deleteResource(trx, record.id)
}

/** The ports of the host that the address has are free again. */
export async function freeForwards(trx: CatalogTransaction, address: string, source: ChangeSource): Promise<void> {
  const record = await findResource(trx, address)
  if (record === undefined) return
  await updateResource(trx, address, { backing: { ...record.backing, forwards: [] } }, source)
}

/** For `delete-group`: `{id}`, done when there is none. @throws JobsError `network_in_use` */
export function deleteNetworkResourceJob(
  parts: Readonly<{ catalog: Catalog; source: ChangeSource }>,
): JobDefinition<Readonly<{ id: string }>, null> {
  return {
    name: DELETE_NETWORK_RESOURCE_JOB,
    version: 1,
    parse: (given) => {
      const { id } = recordOf(given, 'fields')
      if (typeof id === 'string') return { id }
      throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
    },
    run: async (job, { id }) => {
      await job.step('delete', () =>
        parts.catalog.write(async (trx) => {
          const record = await findResource(trx, id)
          if (record === undefined) return
          const use = await whyInUse(trx, record)
          if (use !== undefined) throw new JobsError('network_in_use', use.message, { facts: { id, code: use.code } })
          await removeNetworkResource(trx, record, parts.source)
        }),
      )
      return null
    },
  }
}
