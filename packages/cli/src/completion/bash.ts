import type { CommandNode, Flag } from '../command-tree.ts';
import { quoteWord } from './quote-word.ts';

/** A script for bash 3.2 and newer. */
export function bashScript(commands: readonly CommandNode[]): string {
  return `# Completion of countersign for bash: eval "$(countersign completion bash)"
_countersign() {
  local cur=\${COMP_WORDS[COMP_CWORD]} place=countersign words='' i IFS=$'\\n'
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$place \${COMP_WORDS[i]}" in
      ${either(commands.slice(1).map(({ place }) => place))}) place+=" \${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$place \${COMP_WORDS[COMP_CWORD-1]}" in
    ${either(withValue(commands, 'file'))})
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$cur"))
      return ;;
    ${either(withValue(commands, 'text'))}) return ;;
  esac
  case "$place" in
${commands.map(caseOf).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _countersign countersign
`;
}

function caseOf({ place, words, options }: CommandNode): string {
  const all = [...words.map(({ name }) => name), ...options.flatMap(({ names }) => names)];
  return `    ${quoteWord(place)}) words=$'${all.join('\\n')}' ;;`;
}

function withValue(commands: readonly CommandNode[], value: Flag['value']): string[] {
  return commands.flatMap(({ place, options }) =>
    options
      .filter((option) => option.value === value)
      .flatMap(({ names }) => names.map((name) => `${place} ${name}`)),
  );
}

function either(patterns: readonly string[]): string {
  return patterns.map(quoteWord).join(' | ');
}
