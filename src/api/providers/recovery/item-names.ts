/** How `az` names what a vault protects: by group and machine, in names that are compared without case. */
import { ArmError, parseResourceId } from '#contract'

const PREFIX = 'iaasvmcontainerv2'

export type MachineName = Readonly<{ group: string; machine: string }>

export function machineNameOf(machineId: string): MachineName {
  const { group = '', name } = parseResourceId(machineId)
  return { group, machine: name }
}

export function containerName({ group, machine }: MachineName): string {
  return `IaasVMContainer;${PREFIX};${group};${machine}`
}

export function itemName({ group, machine }: MachineName): string {
  return `VM;${PREFIX};${group};${machine}`
}

export function containerId(vaultId: string, name: MachineName): string {
  return `${vaultId}/backupFabrics/Azure/protectionContainers/${containerName(name)}`
}

export function itemId(vaultId: string, name: MachineName): string {
  return `${containerId(vaultId, name)}/protectedItems/${itemName(name)}`
}

export function protectableId(vaultId: string, { group, machine }: MachineName): string {
  return `${containerId(vaultId, { group, machine })}/protectableItems/vm;${PREFIX};${group};${machine}`
}

function partsOf(name: string, kind: string): MachineName | undefined {
  const [first = '', second = '', group, machine, ...more] = name.split(';')
  const isOurs = first.toLowerCase() === kind && second.toLowerCase() === PREFIX && more.length === 0
  return isOurs && group !== undefined && machine !== undefined ? { group, machine } : undefined
}

/** The machine that a container and an item in a path are of. @throws ArmError when they are no machine's, or of two */
export function machineOfPath(container: string, item: string): MachineName {
  const [outer, inner] = [partsOf(container, 'iaasvmcontainer'), partsOf(item, 'vm')]
  const isOne =
    outer !== undefined &&
    inner !== undefined &&
    outer.group.toLowerCase() === inner.group.toLowerCase() &&
    outer.machine.toLowerCase() === inner.machine.toLowerCase()
  if (isOne) return inner
  throw new ArmError(
    'InvalidParameter',
    `'${container}' and '${item}' do not name one machine: a container is IaasVMContainer;${PREFIX};GROUP;MACHINE, its item ` +
      `VM;${PREFIX};GROUP;MACHINE.`,
    { target: 'protectedItemName' },
  )
}
