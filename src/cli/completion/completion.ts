/** holdfast completion: the script that a shell completes our command lines with. */
import { Argument, type Command } from 'commander'
import { makeCommand, runCommandHandler, type SharedOptions } from '../command.ts'
import { commandNodes } from './command-tree.ts'
import { completionScript, type Shell, SHELLS } from './scripts.ts'

export function completionCommand(program: Command): Command {
  const command = makeCommand({
    usage: 'completion',
    summary: 'the completion script of a shell',
    description: 'Prints the script by which the shell completes commands, options and their values.',
    examples: [
      'source <(holdfast completion bash)',
      'holdfast completion zsh > ~/.zfunc/_holdfast',
      'holdfast completion fish > ~/.config/fish/completions/holdfast.fish',
    ],
  })
  return command
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell, options: SharedOptions) =>
      runCommandHandler(options, ({ output }) => {
        const script = completionScript(shell, commandNodes(program))
        output.result({ shell, script }, () => script.trimEnd())
        return Promise.resolve()
      }),
    )
}
