package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

const (
	costChart    = "cost.svg"
	rateChart    = "rate.svg"
	summaryChart = "summary.svg" // the rates of a few workloads, for the README
)

// inSummary has wins and losses: evnet does not accept connections faster than its rivals.
var inSummary = []string{"echo-64-1", "echo-64-100", "line-100", "broadcast-1000", "proxy-64k", "accept"}

// A chart has one panel for each workload, arranged in columns. Each implementation has a bar from 1
// (plain net) to its median ratio, and a thin line from its minimum to its maximum. The scale is
// logarithmic, so that half and double are equally far from 1.
const (
	panelsAcross = 3
	panelWidth   = 380
	labelWidth   = 130 // names, left of the bars
	valueWidth   = 44  // values, right of the bars
	barHeight    = 13
	panelHead    = 34
	panelFoot    = 22
	chartHead    = 64
	margin       = 16
)

// The colours of the bars differ in brightness too, so that they can be distinguished in greyscale.
const (
	evnetColour = "#1f5fbf"
	plainColour = "#3a3a3a"
	rivalColour = "#e08a2e"
	otherColour = "#a9b4bd"
)

type bar struct {
	name   string
	colour string
	spread spread
}

type panel struct {
	title string
	bars  []bar
}

// chart draws one metric of each workload, relative to plain net. of selects the metric; a workload
// for which it returns nil has no panel.
func chart(g results, title, subtitle string, of func(*workload) *metric) string {
	panels := panelsOf(g, of)
	var b strings.Builder
	y, height := chartHead, chartHead
	var drawn strings.Builder
	for from := 0; from < len(panels); from += panelsAcross {
		line := panels[from:min(from+panelsAcross, len(panels))]
		tallest := 0
		for i, p := range line {
			drawPanel(&drawn, p, margin+i*panelWidth, y)
			tallest = max(tallest, panelHead+panelFoot+barHeight*len(p.bars))
		}
		y += tallest
		height = y
	}
	width := 2*margin + panelsAcross*panelWidth
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="10" role="img">`+"\n",
		width, height+margin, width, height+margin)
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height+margin)
	fmt.Fprintf(&b, `<text x="%d" y="26" font-size="16" font-weight="bold">%s</text>`+"\n", margin, escape(title))
	fmt.Fprintf(&b, `<text x="%d" y="44" font-size="11" fill="#444444">%s Bars: median ratio of the rounds. Thin lines: minimum to maximum. Logarithmic scale.</text>`+"\n",
		margin, escape(subtitle))
	b.WriteString(drawn.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func panelsOf(g results, of func(*workload) *metric) (panels []panel) {
	for i := range workloads {
		w := &workloads[i]
		m := of(w)
		if m == nil {
			continue
		}
		p := panel{title: w.name}
		for _, impl := range implementations {
			if s := g.compare(w.name, impl.name, m, againstPlain); s.rounds > 0 && s.min > 0 {
				p.bars = append(p.bars, bar{impl.name, colour(impl), s})
			}
		}
		if len(p.bars) > 0 {
			p.title += ": " + column{metric: m}.title(w.unit)
			panels = append(panels, p)
		}
	}
	return panels
}

func colour(impl implementation) string {
	switch {
	case impl.rival:
		return rivalColour
	case impl.name == plainNet:
		return plainColour
	case impl.program == "evnet":
		return evnetColour
	}
	return otherColour
}

func drawPanel(b *strings.Builder, p panel, x, y int) {
	low, high := limits(p.bars)
	left, right := float64(x+labelWidth), float64(x+panelWidth-valueWidth)
	at := func(ratio float64) float64 {
		return left + (math.Log2(ratio)-low)/(high-low)*(right-left)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold" font-size="11">%s</text>`+"\n", x, y+16, escape(p.title))
	top, bottom := y+panelHead-8, y+panelHead+barHeight*len(p.bars)
	for power := int(low); power <= int(high); power++ {
		ratio := math.Exp2(float64(power))
		stroke := "#e4e4e4"
		if power == 0 {
			stroke = "#777777"
		}
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s"/>`+"\n", at(ratio), at(ratio), top, bottom, stroke)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" font-size="8" fill="#666666">%.4g</text>`+"\n", at(ratio), bottom+10, ratio)
	}
	for i, bar := range p.bars {
		line := y + panelHead + i*barHeight
		from, to := at(min(1, bar.spread.median)), at(max(1, bar.spread.median))
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="end">%s</text>`+"\n", left-6, line+9, escape(bar.name))
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", from, line+1, max(to-from, 1), barHeight-4, bar.colour)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#000000" stroke-width="0.8"/>`+"\n",
			at(bar.spread.min), at(bar.spread.max), line+5, line+5)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%.2f</text>`+"\n", right+8, line+9, bar.spread.median)
	}
}

// limits returns the range of the scale as powers of two: at least from one half to two, and wide
// enough for all bars.
func limits(bars []bar) (low, high float64) {
	low, high = -1, 1
	for _, b := range bars {
		low = min(low, math.Floor(math.Log2(b.spread.min)))
		high = max(high, math.Ceil(math.Log2(b.spread.max)))
	}
	return low, high
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not return an error
	return b.String()
}
