/** Which recovery point a command of restoring means: one by its name, or the newest of the machine. */
import type { Command } from 'commander'
import { CliError } from '../errors.ts'
import type { ApiContext } from './api-command.ts'
import { itemIdOf, machineIdOf, pathOfId, vaultIdOf, type VaultOptions, withVaultOptions } from './protect-names.ts'

export type PointOptions = VaultOptions & Readonly<{ point: string }>
/** `path`: of the API. */
export type ChosenPoint = Readonly<{ vaultId: string; machineId: string; name: string; path: string; location: string }>

type PointJson = Readonly<{
  name: string
  properties: Readonly<{ recoveryPointProperties: Readonly<{ isSoftDeleted?: boolean }> }>
}>

export function withPointOptions(command: Command): Command {
  return withVaultOptions(command).option(
    '--point <name>',
    'the recovery point; "latest": the newest that is not deleted',
    'latest',
  )
}

/** @throws CliError `recovery_point_not_found` */
export async function choosePoint(context: ApiContext, machine: string, options: PointOptions): Promise<ChosenPoint> {
  const { client } = context
  const vaultId = await vaultIdOf(context, options)
  const machineId = await machineIdOf(context, machine, options)
  const item = pathOfId(itemIdOf(vaultId, machineId))
  const { location } = await client.get<{ location: string }>(pathOfId(vaultId))
  const name = options.point === 'latest' ? await newest(context, item, machine) : options.point
  return { vaultId, machineId, name, location, path: `${item}/recoveryPoints/${encodeURIComponent(name)}` }
}

/** The list has the newest first. What somebody deleted is brought back only by its name. */
export async function newest({ client }: Pick<ApiContext, 'client'>, item: string, machine: string): Promise<string> {
  for await (const { name, properties } of client.each<PointJson>(`${item}/recoveryPoints`))
    if (properties.recoveryPointProperties.isSoftDeleted !== true) return name
  throw new CliError('recovery_point_not_found', `The machine ${machine} has no recovery point in this vault.`, {
    hint: 'Make one with "holdfast protect now"; see deleted ones with "holdfast protect point list".',
  })
}
