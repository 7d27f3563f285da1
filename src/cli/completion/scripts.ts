/**
 * Completion scripts for bash, zsh and fish: the whole tree of commands as tables, and a few lines that look things up in
 * them. Nothing is started while somebody types. Pure.
 */
import type { CommandNode, OptionNode } from './command-tree.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** In single quotes for a shell of the Bourne family. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}

function wordsOf(node: CommandNode): string[] {
  return [...node.children.map(({ name }) => name), ...node.options.flatMap(({ flags }) => flags)]
}

function valueOptions(nodes: readonly CommandNode[]): OptionNode[] {
  return nodes.flatMap(({ options }) => options.filter(({ takesValue }) => takesValue))
}

/** The `case` lines that say what follows each path, and what values each option takes. */
function bourneTables(nodes: readonly CommandNode[]): string {
  const paths = nodes.map((node) => `    ${quoted(node.path)}) hf_words=${quoted(wordsOf(node).join(' '))} ;;`)
  const choices = nodes.flatMap((node) =>
    node.options
      .filter(({ takesValue }) => takesValue)
      .flatMap(({ flags, choices }) =>
        flags.map(
          (flag) => `    ${quoted(`${node.path} ${flag}`)}) hf_values=${quoted(choices.join(' '))} hf_any=1 ;;`,
        ),
      ),
  )
  const taking = [...new Set(valueOptions(nodes).flatMap(({ flags }) => flags))]
  const children = nodes.flatMap(({ path, children }) =>
    children.map(({ name }) => quoted(path === '' ? name : `${path} ${name}`)),
  )
  return `_holdfast_words() {
  hf_words=''
  case "$1" in
${paths.join('\n')}
  esac
}
_holdfast_values() {
  hf_values='' hf_any=''
  case "$1" in
${choices.join('\n')}
  esac
}
_holdfast_takes_value() {
  case "$1" in
    ${taking.join('|')}) return 0 ;;
  esac
  return 1
}
_holdfast_is_command() {
  case "$1" in
    ${children.join('|')}) return 0 ;;
  esac
  return 1
}
# The path of the command that the words before the last one name.
_holdfast_path() {
  hf_path=''
  local word skip=''
  for word in "$@"; do
    if [ -n "$skip" ]; then skip=''; continue; fi
    case "$word" in
      -*) _holdfast_takes_value "$word" && skip=1 ;;
      *) if _holdfast_is_command "\${hf_path:+$hf_path }$word"; then hf_path="\${hf_path:+$hf_path }$word"; fi ;;
    esac
  done
  return 0
}`
}

function bash(nodes: readonly CommandNode[]): string {
  return `# bash completion for holdfast; to use it: source <(holdfast completion bash)
${bourneTables(nodes)}
_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" hf_path hf_words hf_values hf_any
  _holdfast_path "\${COMP_WORDS[@]:1:COMP_CWORD-1}"
  _holdfast_values "$hf_path $previous"
  if [ -n "$hf_any" ]; then
    if [ -n "$hf_values" ]; then COMPREPLY=($(compgen -W "$hf_values" -- "$current")); else COMPREPLY=($(compgen -f -- "$current")); fi
    return
  fi
  _holdfast_words "$hf_path"
  COMPREPLY=($(compgen -W "$hf_words" -- "$current"))
}
complete -o default -F _holdfast holdfast
`
}

function zsh(nodes: readonly CommandNode[]): string {
  return `#compdef holdfast
# zsh completion for holdfast; to use it: source <(holdfast completion zsh)
${bourneTables(nodes)}
_holdfast() {
  local previous="\${words[CURRENT-1]}" path_words=("\${(@)words[2,CURRENT-1]}") hf_path hf_words hf_values hf_any
  _holdfast_path "\${path_words[@]}"
  _holdfast_values "$hf_path $previous"
  if [ -n "$hf_any" ]; then
    if [ -n "$hf_values" ]; then compadd -- \${(s: :)hf_values}; else _files; fi
    return
  fi
  _holdfast_words "$hf_path"
  compadd -- \${(s: :)hf_words}
}
compdef _holdfast holdfast
`
}

/** For fish, in single quotes. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', String.raw`\\`).replaceAll("'", String.raw`\'`)}'`
}

function fishOption(path: string, { flags, takesValue, choices, description }: OptionNode): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`)).join(' ')
  const value = takesValue ? (choices.length > 0 ? ` -x -a ${fishQuoted(choices.join(' '))}` : ' -r') : ''
  return `complete -c holdfast -n ${fishQuoted(`__holdfast_at ${fishQuoted(path)}`)} ${names}${value} -d ${fishQuoted(description)}`
}

function fish(nodes: readonly CommandNode[]): string {
  const commands = nodes.flatMap(({ path, children }) =>
    children.map((child) => (path === '' ? child.name : `${path} ${child.name}`)),
  )
  const lines = nodes.flatMap(({ path, children, options }) => [
    ...children.map(
      ({ name, summary }) =>
        `complete -c holdfast -f -n ${fishQuoted(`__holdfast_at ${fishQuoted(path)}`)} -a ${name} -d ${fishQuoted(summary)}`,
    ),
    ...options.map((option) => fishOption(path, option)),
  ])
  return `# fish completion for holdfast; to use it: holdfast completion fish | source
set -g __holdfast_commands ${commands.map(fishQuoted).join(' ')}
function __holdfast_at
    set -l path ''
    for word in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $word")
        contains -- $longer $__holdfast_commands; and set path $longer
    end
    test "$path" = "$argv[1]"
end
${lines.join('\n')}
`
}

export function completionScript(shell: Shell, nodes: readonly CommandNode[]): string {
  return { bash, zsh, fish }[shell](nodes)
}
