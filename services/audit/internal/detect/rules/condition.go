package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Bounds of one condition.
const (
	// maxCost is in CEL's units, about one an operation or ten characters looked at. The
	// embedded rules stay below 100.
	maxCost  = 2000
	maxChars = 4096
	maxNodes = 500
	maxDepth = 50
	maxRegex = 500
	// MaxText and MaxList are how much of an event's texts and lists conditions see: what is
	// longer is cut, so that the estimates of cost hold.
	MaxText = 256
	MaxList = 64
)

// conditions compiles CEL.
type conditions struct {
	env      *cel.Env
	counters []string
}

// problem is what is wrong with a condition, and the line of the file where it is.
type problem struct {
	line int
	text string
}

func newConditions(counters []string) (*conditions, error) {
	opts := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxChars), cel.ParserRecursionLimit(maxDepth), cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegex), cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(1)),
	}
	for _, f := range fields {
		opts = append(opts, cel.Variable(f.name, f.kind))
	}
	for _, name := range counters {
		opts = append(opts, cel.Variable(name, cel.IntType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("CEL: %w", err)
	}
	return &conditions{env: env, counters: counters}, nil
}

func (c *conditions) compile(w word) (*Condition, []problem) {
	first := w.line
	if w.block {
		first++
	}
	checked, issues := c.env.Compile(w.text)
	if issues.Err() != nil {
		var problems []problem
		for _, e := range issues.Errors() {
			problems = append(problems, problem{first + max(e.Location.Line()-1, 0), c.explain(e.Message)})
		}
		return nil, problems
	}
	if checked.OutputType() != cel.BoolType {
		return nil, []problem{{first, fmt.Sprintf("it gives %s: make it a condition, such as a comparison", checked.OutputType())}}
	}
	if problems := misspelt(checked.NativeRep(), first); len(problems) > 0 {
		return nil, problems
	}
	cost, err := c.env.EstimateCost(checked, sizes{})
	if err != nil || cost.Max > maxCost {
		return nil, []problem{{first, fmt.Sprintf("it may cost %d steps for one event and %d are allowed: leave out comparisons of whole texts, or split the rule", cost.Max, maxCost)}}
	}
	program, err := c.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []problem{{first, err.Error()}}
	}
	return &Condition{Text: strings.TrimSpace(w.text), Program: program, Counters: c.named(checked.NativeRep())}, nil
}

// explain adds to CEL's words what there is instead.
func (c *conditions) explain(message string) string {
	if strings.HasPrefix(message, "undeclared reference") {
		known := append(slices.Clone(c.counters), listed(byName))
		return message + "; there are " + strings.Join(known, ", ")
	}
	return message
}

// named are the counters that a condition uses.
func (c *conditions) named(a *ast.AST) []int {
	var used []int
	visit(a, func(e ast.Expr) {
		if e.Kind() != ast.IdentKind {
			return
		}
		if i := slices.Index(c.counters, e.AsIdent()); i >= 0 && !slices.Contains(used, i) {
			used = append(used, i)
		}
	})
	slices.Sort(used)
	return used
}

func visit(a *ast.AST, f func(ast.Expr)) { ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(f)) }

// misspelt finds comparisons of an enum with a name that it cannot have, which would never be true.
func misspelt(a *ast.AST, first int) []problem {
	var problems []problem
	visit(a, func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Equals, operators.NotEquals, operators.In, operators.OldIn:
		default:
			return
		}
		args := call.Args()
		for i, arg := range args {
			f, known := byName[identOf(arg)]
			if !known || fields[f].values == nil {
				continue
			}
			for _, literal := range literals(args[1-i]) {
				if text, ok := literal.AsLiteral().Value().(string); ok && !fields[f].values[text] {
					line := first + max(a.SourceInfo().GetStartLocation(literal.ID()).Line()-1, 0)
					problems = append(problems, problem{line, fmt.Sprintf("%s is never %q; it is one of %s", f.Name(), text, listed(fields[f].values))})
				}
			}
		}
	})
	return problems
}

func identOf(e ast.Expr) string {
	if e.Kind() == ast.IdentKind {
		return e.AsIdent()
	}
	return ""
}

// literals are the constants that an expression is, or lists.
func literals(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.LiteralKind:
		return []ast.Expr{e}
	case ast.ListKind:
		return slices.DeleteFunc(slices.Clone(e.AsList().Elements()), func(x ast.Expr) bool { return x.Kind() != ast.LiteralKind })
	}
	return nil
}

// sizes tells the estimate of cost how long what events hold can be.
type sizes struct{}

// EstimateSize implements checker.CostEstimator.
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	switch n.Type().Kind() {
	case types.StringKind:
		return &checker.SizeEstimate{Max: MaxText}
	case types.ListKind:
		return &checker.SizeEstimate{Max: MaxList}
	}
	return nil
}

// EstimateCallCost implements checker.CostEstimator: CEL's own are used.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
