/** The recovery point that a path names, with its item and its vault. Names are compared without case, as clients spell them. */
import {
  findProtectedItem,
  findVaultPoint,
  listProtectedItems,
  type ProtectedItem,
  type ResourceRecord,
  type VaultPoint,
} from '#catalog'
import { ArmError, sameId } from '#contract'
import type { ArmCall } from '../../../arm/call.ts'
import { findVault } from '../find-vault.ts'

export type NamedPoint = Readonly<{ vault: ResourceRecord; item: ProtectedItem; point: VaultPoint }>

async function findItem(call: ArmCall, vault: ResourceRecord): Promise<ProtectedItem> {
  const { catalog } = call.host
  const [container, name] = [call.param('container'), call.param('item')]
  const id = `${vault.id}/backupFabrics/Azure/protectionContainers/${container}/protectedItems/${name}`
  const found = await findProtectedItem(catalog, id)
  if (found !== undefined) return found
  // Clients leave out the prefix of a container or an item: the name alone is unique in its vault.
  const last = (text: string): string => text.split(';').slice(-2).join(';')
  const items = await listProtectedItems(catalog, { vaultKey: vault.key })
  const other = items.find((item) => sameId(last(item.name), last(name)) && sameId(last(container), last(name)))
  if (other !== undefined) return other
  throw new ArmError('ResourceNotFound', `The protected item '${name}' was not found in the vault '${vault.name}'.`)
}

/** @throws ArmError `ResourceNotFound` */
export async function findNamedPoint(call: ArmCall): Promise<NamedPoint> {
  const vault = await findVault(call)
  const item = await findItem(call, vault)
  const point = await findVaultPoint(call.host.catalog, item.key, call.param('point'))
  if (point !== undefined) return { vault, item, point }
  throw new ArmError(
    'ResourceNotFound',
    `The recovery point '${call.param('point')}' was not found. It may have been deleted as its policy says.`,
  )
}
