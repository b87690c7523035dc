import { Argument, type Command } from 'commander';
import { type CommandNode, listCommands } from '../lib/command-tree.ts';
import { examples } from '../lib/examples.ts';
import { addJsonOption } from '../lib/options.ts';
import { action } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { zshScript } from './zsh.ts';

const scripts: Readonly<Record<string, (commands: readonly CommandNode[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Prints scripts that make shells complete all commands of the program. */
export function addCompletion(program: Command, io: Io): void {
  const completion = program
    .command('completion')
    .description('print a script that makes a shell complete commands and options')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(scripts)));
  addJsonOption(completion)
    .action(
      action(io, async ({ args, output }) => {
        const shell = args[0] as string;
        const script = scripts[shell]?.(listCommands(program)) as string;
        await output.data({ shell, script }, script);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'eval "$(countersign completion bash)"   # in ~/.bashrc',
        'countersign completion zsh > ~/.zfunc/_countersign   # a folder of $fpath',
        'countersign completion fish > ~/.config/fish/completions/countersign.fish',
      ),
    );
}
