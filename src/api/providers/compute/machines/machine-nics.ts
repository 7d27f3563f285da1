/** Network interfaces of a machine: looked up with the caller's right to join them, and marked as its own. */
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, parseIdOfType, sameId } from '#contract'
import { propertiesOf } from '#jobs'
import type { ArmCall, ArmHost } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import type { DiskOwner } from './machine-disks.ts'
import { invalid, type WishedNic } from './machine-request.ts'

export const NIC_TYPE = 'Microsoft.Network/networkInterfaces'
const TARGET = 'properties.networkProfile.networkInterfaces'

function ownerOf(nic: ResourceRecord): string | undefined {
  const { virtualMachine } = propertiesOf(nic)
  const { id } = (virtualMachine ?? {}) as Readonly<{ id?: unknown }>
  return typeof id === 'string' ? id : undefined
}

function checkFree(nic: ResourceRecord, machine: string): void {
  const other = ownerOf(nic)
  if (other === undefined || sameId(other, machine)) return
  throw new ArmError('OperationNotAllowed', `The network interface '${nic.id}' is used by '${other}'.`, {
    target: TARGET,
  })
}

/** @throws ArmError when one is not there, is another machine's, or is in another region */
export async function checkNics(call: ArmCall, owner: DiskOwner, nics: readonly WishedNic[]): Promise<void> {
  for (const [at, { id: given }] of nics.entries()) {
    const target = `${TARGET}[${at}].id`
    const { text: id } = parseIdOfType(given, NIC_TYPE, target)
    call.authorize(`${NIC_TYPE}/join/action`, id)
    const nic = await findResource(call.host.catalog, id)
    if (nic === undefined)
      throw new ArmError('InvalidResourceReference', `The network interface '${id}' was not found.`, { target })
    if (nic.location !== owner.location)
      throw invalid(target, `'${id}' is in '${nic.location ?? ''}', the machine in '${owner.location}'.`)
    checkFree(nic, owner.id)
  }
}

export async function takeNics(
  host: ArmHost,
  trx: CatalogTransaction,
  machine: string,
  nics: readonly WishedNic[],
): Promise<void> {
  for (const { id } of nics) {
    const nic = await findResource(trx, id)
    if (nic === undefined)
      throw new ArmError('InvalidResourceReference', `The network interface '${id}' was not found.`, { target: TARGET })
    checkFree(nic, machine)
    const properties = { ...propertiesOf(nic), virtualMachine: { id: machine } }
    await updateResource(trx, id, { body: { ...nic.body, properties } }, changeSourceOf(host))
  }
}
