/** How the commands of protection name things: a vault by name or id, a machine by name in the vault's group or by id. */
import type { Command } from 'commander'
import { parseIdOfType, parseResourceId } from '#contract'
import type { ApiContext } from './api-command.ts'
import { type GroupOptions, idOf, MACHINE_TYPE, withGroupOption } from './targets.ts'

export const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'
const PREFIX = 'iaasvmcontainerv2'

export type VaultOptions = GroupOptions & Readonly<{ vault: string }>

export function withVaultOptions(command: Command): Command {
  return withGroupOption(command).requiredOption('-v, --vault <name>', 'the vault, by name in the group or id')
}

export function vaultIdOf(context: Pick<ApiContext, 'client' | 'defaults'>, options: VaultOptions): Promise<string> {
  return idOf(context, options.vault, VAULT_TYPE, options)
}

/** A machine that is given by name is in the group that is named, else in the vault's. */
export async function machineIdOf(
  context: Pick<ApiContext, 'client' | 'defaults'>,
  machine: string,
  options: VaultOptions,
): Promise<string> {
  if (machine.startsWith('/')) return parseIdOfType(machine, MACHINE_TYPE).text
  const { group } = parseResourceId(await vaultIdOf(context, options))
  return idOf(context, machine, MACHINE_TYPE, {
    ...options,
    ...(options.group === undefined && group !== undefined && { group }),
  })
}

export function itemIdOf(vaultId: string, machineId: string): string {
  const { group = '', name } = parseResourceId(machineId)
  const both = `${PREFIX};${group};${name}`
  return `${vaultId}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${both}/protectedItems/VM;${both}`
}

/** A path of ids whose names hold what a URL does not. */
export function pathOfId(id: string): string {
  return id.split('/').map(encodeURIComponent).join('/')
}

/** A policy by name in the vault, or by id. */
export function policyIdOf(vaultId: string, policy: string): string {
  return policy.startsWith('/') ? policy : `${vaultId}/backupPolicies/${policy}`
}
