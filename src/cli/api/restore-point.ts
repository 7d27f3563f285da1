/** Which recovery point a command of restoring means: one by its name, or the newest of the machine. */
import type { Command } from 'commander'
import { CliError } from '../errors.ts'
import type { ApiContext } from './api-command.ts'
import { itemIdOf, machineIdOf, pathOfId, vaultIdOf, type VaultOptions, withVaultOptions } from './protect-names.ts'

export type PointOptions = VaultOptions & Readonly<{ point: string }>
/** `path`: of the API. */
export type ChosenPoint = Readonly<{ vaultId: string; machineId: string; name: string; path: string; location: string }>

type PointJson = Readonly<{ name: string; properties: Readonly<{ recoveryPointTime: string }> }>

export function withPointOptions(command: Command): Command {
  return withVaultOptions(command).option('--point <name>', 'the recovery point; "latest": the newest one', 'latest')
}

/** @throws CliError `not_found` when the machine has no recovery point */
export async function choosePoint(context: ApiContext, machine: string, options: PointOptions): Promise<ChosenPoint> {
  const { client } = context
  const vaultId = await vaultIdOf(context, options)
  const machineId = await machineIdOf(context, machine, options)
  const item = pathOfId(itemIdOf(vaultId, machineId))
  const { location } = await client.get<{ location: string }>(pathOfId(vaultId))
  const name = options.point === 'latest' ? await newest(context, item, machine) : options.point
  return { vaultId, machineId, name, location, path: `${item}/recoveryPoints/${encodeURIComponent(name)}` }
}

async function newest({ client }: ApiContext, item: string, machine: string): Promise<string> {
  const points = await client.list<PointJson>(`${item}/recoveryPoints`)
  const [first] = points.toSorted((a, b) => (a.properties.recoveryPointTime < b.properties.recoveryPointTime ? 1 : -1))
  if (first !== undefined) return first.name
  throw new CliError('usage_invalid', `The machine ${machine} has no recovery point in this vault.`, {
    hint: 'Make one with "holdfast protect now".',
  })
}
