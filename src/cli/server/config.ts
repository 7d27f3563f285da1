/** holdfast config: the settings of a server. */
import { resolve } from 'node:path'
import { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type FileOptions = HomeOptions & Readonly<{ file?: string; defaults?: boolean }>

export function configCommand(): Command {
  return new Command('config')
    .summary('the settings of a server')
    .description('Checks and shows the file holdfast.yaml of a home. All settings: docs/configuration.md.')
    .addHelpText('after', '\nExamples:\n  holdfast config check\n  holdfast config show --defaults')
    .addCommand(checkCommand())
    .addCommand(showCommand())
    .addCommand(schemaCommand())
}

async function fileOf(options: FileOptions): Promise<string> {
  if (options.file !== undefined) return resolve(options.file)
  const { configPath } = await import('#server')
  return configPath(await homeOf(options))
}

function checkCommand(): Command {
  return makeHomeCommand({
    usage: 'check',
    summary: 'whether the settings can be read; every fault by its line',
    description: 'Reads the settings as "holdfast serve" would. Exits 2 and tells every fault when they are not valid.',
    examples: ['holdfast config check', 'holdfast config check --file /tmp/new.yaml'],
  })
    .option('--file <path>', 'another file than that of the home')
    .action((options: FileOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const path = await fileOf(options)
        const { readConfigFile } = await import('#server')
        await readConfigFile(path)
        output.result({ valid: true, path }, () => `${path} is valid.`)
      }),
    )
}

function showCommand(): Command {
  return makeHomeCommand({
    usage: 'show',
    summary: 'every setting with what holds',
    examples: ['holdfast config show', 'holdfast config show --defaults --output json'],
  })
    .option('--file <path>', 'another file than that of the home')
    .option('--defaults', 'what holds when nothing is said')
    .action((options: FileOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const { CONFIG_DEFAULTS, configText, readConfigFile } = await import('#server')
        const config = options.defaults === true ? CONFIG_DEFAULTS : await readConfigFile(await fileOf(options))
        output.result(config, () => configText(config, true).trimEnd())
      }),
    )
}

function schemaCommand(): Command {
  return makeHomeCommand({
    usage: 'schema',
    summary: 'the JSON Schema of the settings, for editors',
    examples: ['holdfast config schema > holdfast.schema.json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, async ({ output }) => {
      const { configJsonSchema } = await import('#server')
      const schema = configJsonSchema()
      output.result(schema, () => JSON.stringify(schema, undefined, 2))
    }),
  )
}
