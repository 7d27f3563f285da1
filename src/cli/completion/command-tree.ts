/** The commands as completion needs them, read from the tree that commander runs: names, options, choices. Pure. */
import type { Command, Option } from 'commander'

export type OptionNode = Readonly<{
  /** `--output`, and `-o` where there is one. */
  flags: readonly string[]
  takesValue: boolean
  choices: readonly string[]
  description: string
}>

export type CommandNode = Readonly<{
  /** Names from the program's own on, apart by a blank: "disk create"; '' for the program. */
  path: string
  summary: string
  children: readonly Readonly<{ name: string; summary: string }>[]
  options: readonly OptionNode[]
}>

function optionNode({ short, long, required, optional, argChoices, description }: Option): OptionNode {
  return {
    flags: [long, short].filter((flag) => typeof flag === 'string'),
    takesValue: required || optional,
    choices: argChoices ?? [],
    description,
  }
}

function isHidden(command: Command): boolean {
  return '_hidden' in command && command._hidden === true
}

/** Every command that is shown, parents before their children. */
export function commandNodes(command: Command, path: readonly string[] = []): CommandNode[] {
  const children = command.commands.filter((child) => !isHidden(child))
  const help: OptionNode = {
    flags: ['--help', '-h'],
    takesValue: false,
    choices: [],
    description: 'display help for command',
  }
  const node: CommandNode = {
    path: path.join(' '),
    summary: command.summary(),
    children: children.map((child) => ({ name: child.name(), summary: child.summary() })),
    options: [...command.options.filter(({ hidden }) => !hidden).map(optionNode), help],
  }
  return [node, ...children.flatMap((child) => commandNodes(child, [...path, child.name()]))]
}
