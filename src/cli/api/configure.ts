/** holdfast configure: this user's defaults. */
import type { Command } from 'commander'
import { makeCommand, runCommandHandler, type SharedOptions } from '../command.ts'
import {
  DEFAULT_NAMES,
  type DefaultName,
  defaultsPath,
  readAssignments,
  readDefaults,
  writeDefaults,
} from './defaults.ts'

type ConfigureOptions = SharedOptions & Readonly<{ defaults?: readonly string[] }>

export function configureCommand(): Command {
  return makeCommand({
    usage: 'configure',
    summary: "show or set this user's defaults: group and location",
    description:
      'Keeps the group and the location that commands use when none is named. HOLDFAST_GROUP and HOLDFAST_LOCATION go before ' +
      'them. An empty value takes a default away.',
    examples: [
      'holdfast configure',
      'holdfast configure --defaults group=web location=eastus',
      'holdfast configure --defaults group=',
    ],
  })
    .option('--defaults <name=value...>', 'group=..., location=...')
    .action((options: ConfigureOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const kept = new Map(Object.entries(await readDefaults(process.env)) as [DefaultName, string][])
        const assignments = readAssignments(options.defaults ?? [])
        for (const [name, value] of assignments) {
          if (value === '') kept.delete(name)
          else kept.set(name, value)
        }
        if (assignments.size > 0) await writeDefaults(process.env, Object.fromEntries(kept))
        const path = defaultsPath(process.env)
        const lines = DEFAULT_NAMES.map((name) => `${name}: ${kept.get(name) ?? '(none)'}`)
        output.result({ path, defaults: Object.fromEntries(kept) }, () => [...lines, `Kept in ${path}.`].join('\n'))
      }),
    )
}
